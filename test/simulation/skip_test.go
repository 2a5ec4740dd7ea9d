//go:build !synctests

package simulation

import "testing"

func TestSchedules(t *testing.T) {
	t.Skip("needs a build tag of franz-go: go test -tags synctests ./test/simulation")
}
