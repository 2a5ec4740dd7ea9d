// Package compose holds docker-compose.yml and what it mounts to the rest of the project: it
// cannot be started where the tests run, so all that can be checked without Docker is.
package compose_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/test/child"
)

// load parses docker-compose.yml by the compose specification, with an empty environment: what a
// first run sees.
func load(t *testing.T) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{filepath.Join(child.Root(t), "docker-compose.yml")},
		cli.WithEnv(nil), cli.WithResolvedPaths(true), cli.WithConsistency(true), cli.WithInterpolation(true))
	require.NoError(t, err)
	project, err := options.LoadProject(t.Context())
	require.NoError(t, err)
	return project
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(append([]string{child.Root(t)}, path...)...))
	require.NoError(t, err)
	return content
}

func TestTheServicesAreThoseOfTheSystem(t *testing.T) {
	require.ElementsMatch(t, []string{
		"redpanda", "console", "topics", "producer", "consumer", "monitor", "prometheus", "grafana",
	}, load(t).ServiceNames())
}

func TestEveryMountedFileExists(t *testing.T) {
	project := load(t)
	for name, service := range project.Services {
		for _, volume := range service.Volumes {
			switch volume.Type {
			case types.VolumeTypeBind:
				require.FileExists(t, existing(t, volume.Source), name)
				require.True(t, volume.ReadOnly, "%s mounts %s for writing", name, volume.Source)
			case types.VolumeTypeVolume:
				require.Contains(t, project.Volumes, volume.Source, name)
			default:
				t.Errorf("%s: volume of type %s", name, volume.Type)
			}
		}
	}
}

// existing returns the path of a file: itself, or any file in it if it is a directory.
func existing(t *testing.T, path string) string {
	t.Helper()
	entries, err := os.ReadDir(path)
	if err != nil || len(entries) == 0 {
		return path
	}
	return existing(t, filepath.Join(path, entries[0].Name()))
}

func TestImagesArePinned(t *testing.T) {
	pinned := regexp.MustCompile(`^[a-z/-]+:v?\d+\.\d+\.\d+(-[a-z]+)?$`)
	for name, service := range load(t).Services {
		if service.Build != nil {
			require.Equal(t, child.Root(t), service.Build.Context, name)
			continue
		}
		require.Regexp(t, pinned, service.Image, name)
	}
	for line := range strings.Lines(string(read(t, "Dockerfile"))) {
		if from, ok := strings.CutPrefix(line, "FROM "); ok {
			require.Regexp(t, pinned, strings.Fields(from)[0])
		}
	}
}

// A tag of an action can be moved to other code, a commit cannot.
func TestActionsArePinnedToCommits(t *testing.T) {
	pinned := regexp.MustCompile(`^actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	uses := regexp.MustCompile(`(?m)^\s*(?:- )?uses: (.*)$`).FindAllSubmatch(read(t, ".github", "workflows", "ci.yml"), -1)
	require.NotEmpty(t, uses)
	for _, action := range uses {
		require.Regexp(t, pinned, string(action[1]))
	}
}

func TestTheDockerfileMakesAStaticBinaryThatRunsAsNobody(t *testing.T) {
	dockerfile := string(read(t, "Dockerfile"))
	require.Contains(t, dockerfile, "CGO_ENABLED=0")
	require.Regexp(t, `(?m)^USER [1-9]\d*:[1-9]\d*$`, dockerfile)
	require.Contains(t, dockerfile, "-X main.buildVersion=${VERSION}")
	require.Regexp(t, `(?m)^var buildVersion\b`, string(read(t, "cmd", "orderflow", "version.go")), "the variable that the build sets")

	require.Contains(t, dockerfile, "\nCOPY LICENSE NOTICE THIRD_PARTY_NOTICES sbom.cdx.json ./\n", "who hands the image on hands on what licences ask for")

	// The toolchain is that of go.mod, so that nothing is downloaded in the build.
	version := regexp.MustCompile(`(?m)^go (\S+)$`).FindSubmatch(read(t, "go.mod"))
	require.Contains(t, dockerfile, fmt.Sprintf("FROM golang:%s-", version[1]))

	// What the build needs is not ignored, and is there.
	ignore := string(read(t, ".dockerignore"))
	for _, needed := range []string{"go.mod", "go.sum", "cmd", "config", "internal", "plugins", "LICENSE", "NOTICE", "THIRD_PARTY_NOTICES", "sbom.cdx.json"} {
		require.Contains(t, ignore, "\n!"+needed+"\n")
		_, err := os.Stat(filepath.Join(child.Root(t), needed))
		require.NoError(t, err)
	}
}

func TestPortsAreUniqueAndOpenToThisMachineOnly(t *testing.T) {
	taken := map[string]string{}
	for name, service := range load(t).Services {
		for _, port := range service.Ports {
			require.NotContains(t, taken, port.Published, "%s and %s", name, taken[port.Published])
			taken[port.Published] = name
			require.Equal(t, "127.0.0.1", port.HostIP, name)
		}
	}
	require.Equal(t, "redpanda", taken["9092"], "the default of KAFKA_BROKERS on this machine")
}

func TestServicesWaitForWhatTheyNeed(t *testing.T) {
	project := load(t)
	for name, service := range project.Services {
		for on, dependency := range service.DependsOn {
			other := project.Services[on]
			switch dependency.Condition {
			case types.ServiceConditionHealthy:
				require.NotNil(t, other.HealthCheck, "%s waits for %s to be healthy", name, on)
			case types.ServiceConditionCompletedSuccessfully:
				require.Contains(t, []string{"", types.RestartPolicyNo}, other.Restart, "%s ends", on)
			default:
				t.Errorf("%s waits for %s only to be started", name, on)
			}
		}
	}
	require.Equal(t, types.ServiceConditionHealthy, project.Services["topics"].DependsOn["redpanda"].Condition)
	for name := range pipelines(project) {
		require.Equal(t, types.ServiceConditionCompletedSuccessfully, project.Services[name].DependsOn["topics"].Condition, name)
	}
}

func TestEveryServiceThatStaysHasAHealthcheckAndARestartPolicy(t *testing.T) {
	for name, service := range load(t).Services {
		if name == "topics" {
			continue
		}
		require.NotNil(t, service.HealthCheck, name)
		require.NotEmpty(t, service.HealthCheck.Test, name)
		require.NotEmpty(t, service.Restart, name)
	}
}

// What runs away is ended and started again, and does not take the machine with it.
func TestEveryServiceHasAMemoryLimit(t *testing.T) {
	const mega = 1 << 20
	limits := map[string]types.UnitBytes{
		"redpanda": 1536 * mega, "console": 512 * mega, "topics": 256 * mega,
		"producer": 1024 * mega, "consumer": 1024 * mega, "monitor": 1024 * mega,
		"prometheus": 1024 * mega, "grafana": 512 * mega,
	}
	project := load(t)
	require.Len(t, project.Services, len(limits))
	for name, service := range project.Services {
		require.Equal(t, limits[name], service.MemLimit, name)
	}
	require.Contains(t, project.Services["redpanda"].Command, "--memory=1G", "less than its container has")
}

func TestThereAreNoSecrets(t *testing.T) {
	for name, service := range load(t).Services {
		for variable := range service.Environment {
			require.NotRegexp(t, `(?i)passw|secret|token`, variable, name)
		}
	}
}

// pipelines returns the services that run a pipeline, and its path.
func pipelines(project *types.Project) map[string]string {
	found := map[string]string{}
	for name, service := range project.Services {
		if i := slices.Index(service.Command, "run"); i >= 0 && i+1 < len(service.Command) {
			found[name] = service.Command[i+1]
		}
	}
	return found
}
