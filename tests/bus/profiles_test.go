package bus

import (
	"bytes"
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// profile is what the platform's public profiles have: no other member occurs in
// them, and none may here.
type profile struct {
	ID, Name, Description string
	Aliases               []string
	ServiceKind           string `yaml:"service_kind"`
	Parameters            []struct{ Name, Type, Description, Default string }
	Runtime               struct {
		Kind, Provider string
		Command, Args  []string
		Env            []struct {
			Name, Description, Value, Default string
			ValueFrom                         string `yaml:"value_from"`
		}
		Ports []struct {
			Name, Protocol, Host string
			Target               int
		}
		Healthcheck struct {
			TCPPortFrom       string `yaml:"tcp_port_from"`
			Interval, Timeout string
		}
	}
}

func load(t testing.TB, id string) (p profile) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "deploy/bus-services", id+".yml"))
	require.NoError(t, err)
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	require.NoError(t, decoder.Decode(&p))
	require.Equal(t, id, p.ID)
	return p
}

var reference = regexp.MustCompile(`\{((?:env|param):\w+)\}`)

// expand returns the command line and the environment of a profile, as its
// parameters' defaults and the stack's .env file make them. bus-services itself
// is not public; this is how its public profiles read.
func (p profile) expand(t testing.TB, stack map[string]string) (argv, env []string) {
	t.Helper()
	values := map[string]string{} // by what refers to them
	for key, value := range stack {
		values["env:"+key] = value
	}
	fill := func(text string) string {
		return reference.ReplaceAllStringFunc(text, func(found string) string {
			value, ok := values[strings.Trim(found, "{}")]
			require.True(t, ok, "%s: nothing sets %s", p.ID, found)
			return value
		})
	}
	for _, parameter := range p.Parameters {
		values["param:"+parameter.Name] = fill(parameter.Default)
	}
	for _, variable := range p.Runtime.Env {
		require.NotEmpty(t, variable.Description, variable.Name)
		source, key, _ := strings.Cut(variable.ValueFrom, ":")
		value := values["env:"+key]
		if source == "process_env" {
			value = os.Getenv(key)
		}
		value = cmp.Or(value, fill(variable.Default))
		require.NotEmpty(t, value, variable.Name)
		values["env:"+variable.Name] = value
		env = append(env, variable.Name+"="+value)
	}
	for _, arg := range slices.Concat(p.Runtime.Command, p.Runtime.Args) {
		argv = append(argv, fill(arg))
	}
	return argv, env
}

// Each profile starts a gateway that listens where its health check looks.
func TestProfiles(t *testing.T) {
	binary := filepath.Join(t.TempDir(), name)
	printed(t, command(t, nil, "go build -o "+binary+" ./cmd/bus-api-provider-vm"))
	for _, id := range []string{"bus/vm/static", "bus/vm/events"} {
		t.Run(id, func(t *testing.T) {
			p := load(t, id)
			require.Equal(t, []string{name}, p.Runtime.Command)
			portName, ok := strings.CutPrefix(p.Runtime.Healthcheck.TCPPortFrom, "env:")
			require.True(t, ok)
			directory := t.TempDir()
			stack := map[string]string{"BUS_AUTH_HS256_SECRET": "a-secret-of-the-tests-that-is-long-enough", "BUS_SERVICES_BUS_DIR": directory}

			argv, _ := p.expand(t, stack)
			require.Contains(t, argv, "127.0.0.1:8085")
			require.Equal(t, 8085, p.Runtime.Ports[0].Target)

			require.NoError(t, os.Mkdir(filepath.Join(directory, "tokens"), 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(directory, "tokens/local-events.jwt"), []byte("a token\n"), 0o600))
			addr := harness.FreeAddress(t)
			_, stack[portName], _ = strings.Cut(addr, ":")
			argv, env := p.expand(t, stack)
			check := exec.Command(binary, append(slices.Clone(argv[1:]), "--check-config")...)
			check.Env = env
			said, err := check.CombinedOutput() // no warning either
			require.NoError(t, err, "%s", said)
			require.Equal(t, "configuration ok\n", string(said))

			service := exec.Command(binary, argv[1:]...)
			service.Env, service.Dir = env, t.TempDir()
			serve(t, service, addr)
			require.Equal(t, `{"ok":true}`, get(t, addr, "/livez", ""))
		})
	}
}
