//go:build !unix

package broker

// keepFilesPrivate does nothing where files get their rights from the directory.
func keepFilesPrivate() {}
