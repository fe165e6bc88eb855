package containers

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// image is what is in an image. A borrowed one stands for an image of a registry
// and shows the programs of this machine in its place.
type image struct {
	root     string
	borrowed bool
	config   ocispecs.ImageConfig
}

const defaultPath = "PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// borrow makes an image of this machine's programs.
func borrow(t testing.TB) image {
	t.Helper()
	root, err := os.MkdirTemp(suite.directory, "image-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(root, 0o755))
	i := image{root, true, ocispecs.ImageConfig{Env: []string{defaultPath}}}
	for _, directory := range []string{"run", "tmp", "var/log/nginx", "var/lib/nginx"} {
		require.NoError(t, os.MkdirAll(filepath.Join(i.root, directory), 0o755))
	}
	return i
}

// build carries out the stages of the Dockerfile that a target needs. It knows
// the instructions that the Dockerfile uses, and fails on others.
func build(t testing.TB, built map[string]image, target string) image {
	t.Helper()
	if i, ok := built[target]; ok {
		return i
	}
	stage, ok := stages(t)[target]
	require.True(t, ok, "no stage %s", target)
	i := borrow(t)
	if stage.BaseName == "scratch" {
		i = image{root: filepath.Join(suite.directory, "image-"+target), config: config(t, target)}
		require.NoError(t, os.Mkdir(i.root, 0o755))
	}
	directory := "/"
	environment := append(i.config.Env, "HOME=/root")
	for _, command := range stage.Commands {
		switch c := command.(type) {
		case *instructions.WorkdirCommand:
			directory = c.Path
			require.NoError(t, os.MkdirAll(filepath.Join(i.root, directory), 0o755))
		case *instructions.ArgCommand:
			environment = append(environment, c.Args[0].Key+"="+c.Args[0].ValueString())
		case *instructions.EnvCommand:
			for _, pair := range c.Env {
				environment = append(environment, pair.Key+"="+pair.Value)
			}
		case *instructions.RunCommand:
			script := "cd " + directory + " && " + strings.Join(c.CmdLine, " ")
			run(t, i.command(t, box{user: "0:0", environment: append(environment, goEnvironment(t)...)}, "/bin/sh", "-c", script))
		case *instructions.CopyCommand:
			from := buildContext(t)
			if c.From != "" {
				from = build(t, built, c.From).root
			}
			for _, source := range c.SourcePaths {
				place(t, from, source, i.root, directory, c)
			}
		case *instructions.ExposeCommand, *instructions.EntrypointCommand, *instructions.UserCommand: // in config
		default:
			t.Fatalf("the stand-in for an engine knows no %s", command.Name())
		}
	}
	built[target] = i
	return i
}

// place is COPY: a file to a name, or into a directory where that ends in a
// slash; of a directory what is in it.
func place(t testing.TB, from, source, root, directory string, c *instructions.CopyCommand) {
	t.Helper()
	destination := c.DestPath
	if !filepath.IsAbs(destination) {
		destination = filepath.Join(directory, destination) + "/"
	}
	source = filepath.Join(from, source)
	if _, err := os.Stat(source); os.IsNotExist(err) && c.From != "" {
		source = strings.TrimPrefix(source, from) // of the borrowed image
	}
	info, err := os.Stat(source)
	require.NoError(t, err)
	target := filepath.Join(root, destination)
	switch {
	case info.IsDir():
		require.NoError(t, os.MkdirAll(target, 0o755))
		require.NoError(t, os.Chmod(target, info.Mode().Perm()))
		run(t, exec.Command("cp", "-a", source+"/.", target))
	case strings.HasSuffix(destination, "/"):
		run(t, exec.Command("cp", "-aL", source, target))
	default:
		require.NoError(t, os.MkdirAll(filepath.Dir(target), 0o755))
		run(t, exec.Command("cp", "-aL", source, target))
	}
	if c.Chown != "" {
		run(t, exec.Command("chown", "-R", c.Chown, target))
	}
}

// buildContext is a copy of the repository without what .dockerignore names.
func buildContext(t testing.TB) string {
	t.Helper()
	root, list := inRoot(t), filepath.Join(suite.directory, "context.list")
	ignored, err := os.Open(inRoot(t, ".dockerignore"))
	require.NoError(t, err)
	defer ignored.Close()
	patterns, err := ignorefile.ReadAll(ignored)
	require.NoError(t, err)
	matcher, err := patternmatcher.New(patterns)
	require.NoError(t, err)
	var kept strings.Builder
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		relative, _ := filepath.Rel(root, path)
		skip, err := matcher.MatchesOrParentMatches(relative)
		switch {
		case err != nil:
			return err
		case skip && entry.IsDir():
			return filepath.SkipDir
		case !skip && !entry.IsDir():
			fmt.Fprintf(&kept, "%s\x00", relative)
		}
		return nil
	}))
	require.NoError(t, os.WriteFile(list, []byte(kept.String()), 0o600))
	copied := filepath.Join(suite.directory, "context")
	require.NoError(t, os.MkdirAll(copied, 0o755))
	run(t, exec.Command("sh", "-c", `tar -C "$0" --null -T "$1" -c | tar -C "$2" -x`, root, list, copied))
	return copied
}

// goEnvironment is where this machine has modules and built packages.
func goEnvironment(t testing.TB) (environment []string) {
	t.Helper()
	for _, name := range []string{"GOMODCACHE", "GOCACHE", "GOPROXY", "GOFLAGS"} {
		environment = append(environment, name+"="+strings.TrimSpace(run(t, exec.Command("go", "env", name))))
	}
	return environment
}
