// Package containers checks what is shipped for containers with the parsers of
// those who read it: the Dockerfile goes through BuildKit's front end and linter, the
// compose files through compose's loader, the dashboard through Grafana's schema.
// What the images hold, who runs them and how compose connects the services is
// compared with what the binary needs.
//
// It is a module of its own, so that the gateway does not come to require
// BuildKit: `just containers`.
package containers

import (
	"bytes"
	"context"
	"maps"
	"regexp"
	"slices"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

const (
	dockerfile = "deploy/Dockerfile"
	user       = "65532:65532"
)

// unknownImage answers for every image of a registry: nothing is known of it.
type unknownImage struct{}

func (unknownImage) ResolveImageConfig(_ context.Context, ref string, _ sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	config := []byte(`{"architecture":"amd64","os":"linux","config":{}}`)
	return ref, digest.FromBytes(config), config, nil
}

func options(text []byte, target string) dockerfile2llb.ConvertOpt {
	return dockerfile2llb.ConvertOpt{
		Config:         dockerui.Config{Target: target},
		TargetPlatform: &ocispecs.Platform{OS: "linux", Architecture: "amd64"},
		MetaResolver:   unknownImage{},
		SourceMap:      &llb.SourceMap{Filename: dockerfile, Data: text, Definition: &llb.Definition{}},
	}
}

// findings are what BuildKit's linter says, as `docker build --check` does.
func findings(t testing.TB, text []byte) (rules []string) {
	t.Helper()
	found, err := dockerfile2llb.DockerfileLint(context.Background(), text, options(text, ""))
	require.NoError(t, err)
	if found.Error != nil {
		rules = append(rules, found.Error.Message)
	}
	for _, warning := range found.Warnings {
		rules = append(rules, warning.RuleName)
	}
	return rules
}

func TestDockerfileIsClean(t *testing.T) {
	text := read(t, dockerfile)
	require.Empty(t, findings(t, text))

	// The check sees what is wrong.
	require.Equal(t, []string{"FromAsCasing"}, findings(t, bytes.Replace(text, []byte(" AS events"), []byte(" as events"), 1)))
	require.Equal(t, []string{"UndefinedVar"}, findings(t, append(text, "ENV PATH=$UNKNOWN\n"...)))
}

// stages are those of the Dockerfile, by name.
func stages(t testing.TB) map[string]instructions.Stage {
	t.Helper()
	file, err := parser.Parse(bytes.NewReader(read(t, dockerfile)))
	require.NoError(t, err)
	list, _, err := instructions.Parse(file.AST, nil)
	require.NoError(t, err)
	byName := map[string]instructions.Stage{}
	for _, stage := range list {
		byName[stage.Name] = stage
	}
	return byName
}

// config is that of the image that BuildKit would make.
func config(t testing.TB, target string) ocispecs.ImageConfig {
	t.Helper()
	text := read(t, dockerfile)
	result, err := dockerfile2llb.Dockerfile2LLB(context.Background(), text, options(text, target))
	require.NoError(t, err)
	return result.Image.Config.ImageConfig
}

// copied is what a stage copies, by its destination, and whose it is then.
func copied(t testing.TB, target string) map[string]string {
	t.Helper()
	owners := map[string]string{}
	for _, command := range stages(t)[target].Commands {
		if c, ok := command.(*instructions.CopyCommand); ok {
			owners[c.DestPath] = c.Chown
		}
	}
	return owners
}

// An image is not run as root, holds its binary and little else, and the last
// stage is the gateway.
func TestImages(t *testing.T) {
	for target, holds := range map[string][]string{
		"provider": {"/etc/ssl/certs/ca-certificates.crt", "/usr/bin/bus-api-provider-vm", "/var/lib/bus-api-provider-vm"},
		"events":   {"/run/bus", "/usr/bin/busstack"},
	} {
		require.Equal(t, "scratch", stages(t)[target].BaseName)
		require.Equal(t, holds, slices.Sorted(maps.Keys(copied(t, target))))
		require.Equal(t, user, config(t, target).User, target)
		require.Contains(t, holds, config(t, target).Entrypoint[0])
	}
	require.Equal(t, config(t, "provider"), config(t, ""))
	// A patch release of the Go that go.mod names.
	minor := regexp.MustCompile(`(?m)^go (1\.\d+)`).FindSubmatch(read(t, "go.mod"))[1]
	require.Regexp(t, `^golang:`+string(minor)+`\.\d+-bookworm$`, stages(t)["build"].BaseName)
}
