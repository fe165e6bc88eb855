package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// finding is one entry of the doctor's document.
type finding struct{ Name, Status, Detail, Do string }

// diagnose runs the doctor for programs, and expects an exit code that fits.
func diagnose(t testing.TB, env []string, args ...string) (findings map[string][]finding, code int) {
	t.Helper()
	few := []string{"BUS_VM_MAX_CONNECTIONS=64", "BUS_VM_WRITES_IN_FLIGHT=64"} // the machine may have few descriptors
	got := run(t, slices.Concat([]string{"BUS_VM_JWT_SECRET=" + jwtSecret, "BUS_VM_ADDR=127.0.0.1:0"}, few, env), append([]string{"doctor", "--format", "json"}, args...)...)
	require.Empty(t, harness.Leaks(got.Stdout+got.Stderr, jwtSecret, providerToken))
	var report struct {
		Result string
		Checks []finding
	}
	require.NoError(t, json.Unmarshal([]byte(got.Stdout), &report), got.Stdout+got.Stderr)
	findings = map[string][]finding{}
	for _, f := range report.Checks {
		require.Equal(t, f.Status == "ok", f.Do == "", "whatever is wrong says what to do: %+v", f)
		findings[f.Name] = append(findings[f.Name], f)
	}
	require.Equal(t, report.Result == "failed", got.Code != 0, got.Stdout)
	return findings, got.Code
}

// statuses are the names of the checks with the worst status of each.
func statuses(findings map[string][]finding) map[string]string {
	worst := map[string]string{}
	for name, list := range findings {
		for _, f := range list {
			if worst[name] == "" || worst[name] == "ok" || f.Status == "failed" {
				worst[name] = f.Status
			}
		}
	}
	return worst
}

// The doctor is content with a service that works, before it starts and beside
// it, and leaves no trace at either end.
func TestDoctorFindsAllWell(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	data := t.TempDir()
	tokenFile := harness.File(t, "token", p.ProviderToken()+"\n")
	env := []string{
		"BUS_VM_BACKEND=events", "BUS_VM_BILLING_BACKEND=events", "BUS_VM_USAGE_BACKEND=events",
		"BUS_EVENTS_API_URL=" + p.URL(), "BUS_API_TOKEN_FILE=" + tokenFile, "BUS_VM_DATA_DIR=" + data,
	}
	all := map[string]string{
		"settings": "ok", "secret files": "ok", "address": "ok", "admin address": "ok",
		"provider token": "ok", "events": "ok", "clock": "ok", "vm worker": "ok", "data directory": "ok",
	}
	healthy := func(findings map[string][]finding, code int) {
		got := statuses(findings)
		if data := "data directory"; got[data] == "warning" && !strings.Contains(findings[data][0].Detail, "is going to be made") {
			got[data] = "ok" // the disk of the machine is slow or small
		}
		require.Equal(t, all, got, "%+v", findings)
		require.Equal(t, 0, code)
	}
	healthy(diagnose(t, env))
	left, err := os.ReadDir(data)
	require.NoError(t, err)
	require.Empty(t, left)
	asked := p.Events.Published(platform.StatusRequest)
	require.Len(t, asked, 1, "and nothing else is published")
	require.JSONEq(t, `{"runtime":"default"}`, string(asked[0].Payload))
	require.Empty(t, p.Check())

	g, admin := serveAdmin(t, env)
	beside := append(env, "BUS_VM_ADDR="+g.addr, "BUS_VM_ADMIN_ADDR="+admin)
	healthy(diagnose(t, beside))

	// Who else would start on that directory could not, and a service whose directory is
	// gone takes no writes.
	findings, code := diagnose(t, env)
	require.Equal(t, 1, code)
	require.Equal(t, "failed", statuses(findings)["data directory"], "%+v", findings)
	require.Contains(t, findings["data directory"][0].Detail, "another process has it")
	require.NoError(t, os.Rename(data, data+"-away"))
	findings, _ = diagnose(t, beside)
	require.Equal(t, "warning", statuses(findings)["data directory"], "%+v", findings)
	require.Contains(t, findings["data directory"][0].Detail, "does not have it open")
	require.NoError(t, os.Rename(data+"-away", data))
	require.Equal(t, showing(`{"status":{"state":"stopped","provider":"fake"}}`, ""), ask(t, g.addr, request("GET "+statusPath, mint("vm:read"))))
}

// The limit of open files must be enough for all that the service says it is for.
func TestDoctorCountsFiles(t *testing.T) {
	t.Parallel()
	for limit, want := range map[int]string{16384 + 64: `"status": "warning",\s+"detail": "the limit of open files \(16448\) is below [^"]*16384`, 17000: `"status": "ok"`} {
		command := exec.Command("/bin/sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$0" doctor --format json --dev`, limit), harness.Gateway(t))
		output, err := command.Output() // its exit code is of other checks
		require.NotEmpty(t, output, err)
		require.Regexp(t, `"name": "settings",\s+`+want, string(output))
	}
}

// Each thing that would keep the service from working is found, and named.
func TestDoctorFindsWhatIsBroken(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	const day = 24 * time.Hour
	events := []string{"BUS_VM_BACKEND=events", "BUS_EVENTS_API_URL=" + p.URL(), "BUS_API_TOKEN=" + providerJWT(platform.ProviderScope, 2*day)}
	open := harness.File(t, "settings.yaml", "jwt:\n  secret: '"+jwtSecret+"'\n")
	require.NoError(t, os.Chmod(open, 0o644))
	foreign := platform.Token(jwtSecret, platform.Claims{Subject: "another", Scope: platform.ProviderScope, TTL: 2 * day})
	logged.keepOut(foreign)
	for name, c := range map[string]struct {
		env  []string
		args []string
		bad  map[string]string
	}{
		"nothing":            {events, nil, map[string]string{}},
		"open admin address": {nil, []string{"--admin-addr", "0.0.0.0:0"}, map[string]string{"settings": "warning"}},
		"unwise setting":     {[]string{"BUS_VM_NONSENSE=1"}, nil, map[string]string{"settings": "warning"}},
		"missing scope":      {append(events, "BUS_API_TOKEN="+providerJWT("vm:read", 2*day)), nil, map[string]string{"provider token": "failed"}},
		"no Events API":      {append(events, "BUS_EVENTS_API_URL=http://127.0.0.1:1"), nil, map[string]string{"events": "failed"}},
		"no data directory":  {append(events, "BUS_VM_USAGE_BACKEND=events", "BUS_VM_DATA_DIR=/proc/self/fd/none"), nil, map[string]string{"data directory": "failed"}},
		"no socket there":    {nil, []string{"--addr", "unix:/nonexistent/vm.sock"}, map[string]string{"address": "failed"}},
		"no JWKS":            {nil, []string{"--jwks-url", "http://127.0.0.1:1/keys"}, map[string]string{"public keys": "failed"}},
		"open settings":      {[]string{"BUS_VM_CONFIG=" + open}, nil, map[string]string{"secret files": "warning"}},
		"another identity":   {append(events, "BUS_VM_TIMEOUT=1s", "BUS_API_TOKEN="+foreign), nil, map[string]string{"vm worker": "failed"}},
		"plain http to another host": {[]string{"BUS_VM_BILLING_BACKEND=events", "BUS_EVENTS_API_URL=http://192.0.2.1:1", "BUS_API_TOKEN=opaque"}, nil,
			map[string]string{"settings": "warning", "events": "failed"}},
	} {
		t.Run(name, func(t *testing.T) {
			findings, code := diagnose(t, c.env, c.args...)
			got := statuses(findings)
			require.Equal(t, slices.Contains(slices.Collect(maps.Values(got)), "failed"), code == 1, code)
			maps.DeleteFunc(got, func(check, status string) bool { return status == "ok" })
			require.Equal(t, c.bad, got, "%+v", findings)
		})
	}
	findings, code := diagnose(t, []string{"BUS_VM_BACKEND=cloud"})
	require.Equal(t, 2, code)
	require.Equal(t, map[string]string{"settings": "failed"}, statuses(findings))
}

// The doctor says which side of Events does not answer, and why that may be: one
// failure for one cause.
func TestDoctorAsksTheWorker(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	status := []string{platform.StatusRequest}
	for name, c := range map[string]struct {
		faults    platform.Faults
		behaviour platform.Behaviour
		want      finding
	}{
		"well":      {want: finding{"vm worker", "ok", `a status request came back through Events in \d+(\.\d+)?[mµ]?s: stopped`, ""}},
		"no worker": {behaviour: platform.Behaviour{Deaf: true}, want: finding{"vm worker", "failed", "Events took a status request, and no worker answered it within 1s", ".* same identity .*"}},
		"an error": {behaviour: platform.Behaviour{Refuse: &platform.EventError{Code: "quota", Message: "password=hunter2"}},
			want: finding{"vm worker", "failed", `a worker answered a status request after .*s: quota: password=\[redacted\]`, "look at the log of .*"}},
		"malformed":      {behaviour: platform.Behaviour{Payload: []byte(`{}`)}, want: finding{"vm worker", "failed", "a worker answered a status request after .*s: .*malformed.*", ".*"}},
		"a silent API":   {faults: platform.Faults{Names: status, Stall: true}, want: finding{"vm worker", "failed", "Events did not take a status request: .*", ".*Events API.*"}},
		"a sick API":     {faults: platform.Faults{Names: status, PublishStatus: 500}, want: finding{"vm worker", "failed", "Events did not take a status request: .*500.*", ".*Events API.*"}},
		"a refusing API": {faults: platform.Faults{Names: status, PublishStatus: 403}, want: finding{"vm worker", "failed", "Events did not take a status request: .*403.*", "issue a provider token .*"}},
	} {
		p.Events.SetFaults(c.faults)
		c.behaviour.Names = status
		p.VM.SetBehaviour(c.behaviour)
		findings, _ := diagnose(t, []string{"BUS_VM_BACKEND=events", "BUS_EVENTS_API_URL=" + p.URL(), "BUS_API_TOKEN=" + p.ProviderToken(), "BUS_VM_TIMEOUT=1s"})
		require.Len(t, findings[c.want.Name], 1, name)
		got := findings[c.want.Name][0]
		require.Equal(t, c.want.Status, got.Status, "%s: %+v", name, got)
		require.Regexp(t, "^"+c.want.Detail+"$", got.Detail, name)
		require.Regexp(t, "^"+c.want.Do+"$", got.Do, name)
		require.Equal(t, "ok", statuses(findings)["events"], name)
		p.Events.SetFaults(platform.Faults{})
	}
}

// The real nginx prints its configuration, and the doctor reads it.
func TestDoctorReadsNginx(t *testing.T) {
	t.Parallel()
	harness.Needs(t, "nginx")
	shippedConf, err := filepath.Abs(moduleRoot + "/deploy/nginx/bus-vm.conf")
	require.NoError(t, err)
	dir := t.TempDir()
	main := harness.File(t, "nginx.conf", "pid "+dir+"/nginx.pid; error_log stderr; events {}\nhttp { access_log off; include "+shippedConf+"; }\n")
	dump, err := exec.Command("nginx", "-T", "-c", main, "-p", dir).Output()
	require.NoError(t, err)
	for _, conf := range []string{harness.File(t, "dump", string(dump)), shippedConf} {
		findings, code := diagnose(t, nil, "--addr", "127.0.0.1:8085", "--nginx-conf", conf)
		require.Equal(t, []finding{{"nginx", "ok", "fits: location /api/v1/vm/, location = /readyz, location = /livez", ""}}, findings["nginx"], conf)
		if findings["address"][0].Status == "ok" { // 8085 may be taken on this machine
			require.Equal(t, 0, code)
		}
	}

	// A start waits for billing, then for the runtime: each up to --timeout.
	short := harness.File(t, "short.conf", strings.Replace(string(dump), "proxy_read_timeout 75s", "proxy_read_timeout 45s", 1))
	for want, env := range map[string][]string{
		"ok":     nil,
		"failed": {"BUS_VM_BILLING_BACKEND=events", "BUS_EVENTS_API_URL=http://127.0.0.1:1", "BUS_API_TOKEN=opaque"},
	} {
		findings, _ := diagnose(t, env, "--addr", "127.0.0.1:8085", "--nginx-conf", short)
		require.Equal(t, want, statuses(findings)["nginx"], "%+v", findings)
	}
}

// failures are the checks that failed.
func failures(findings map[string][]finding) map[string]string {
	got := statuses(findings)
	maps.DeleteFunc(got, func(_, status string) bool { return status != "failed" })
	return got
}
