package cli

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/doctor"
)

// examined runs the doctor with findings in place of looks.
func examined(t *testing.T, args []string, report doctor.Report, err error) (outcome, string) {
	t.Helper()
	var stdout, stderr strings.Builder
	given := "not asked"
	env := Env{
		Environ: []string{"BUS_VM_JWT_SECRET=" + testSecret}, Stdout: &stdout, Stderr: &stderr, Now: time.Now,
		Examine: func(_ context.Context, c *config.Config, nginxConf string) (doctor.Report, error) {
			given = c.Addr + " " + nginxConf
			return report, err
		},
	}
	code := Main(t.Context(), append([]string{"doctor"}, args...), env)
	return outcome{code, stdout.String(), stderr.String()}, given
}

func TestDoctorOutcomes(t *testing.T) {
	fine := doctor.Check{Name: "settings", Status: doctor.OK, Detail: "right"}
	unwise := doctor.Check{Name: "clock", Status: doctor.Warning, Detail: "late", Do: "set it"}
	broken := doctor.Check{Name: "events", Status: doctor.Failed, Detail: "away", Do: "start it"}
	const asked, fineLine = "127.0.0.1:8085 ", "ok    settings        right\n"
	const unwiseLines = "warn  clock           late\n                      do: set it\n"
	const brokenLines = "FAIL  events          away\n                      do: start it\n"
	json := func(result, checks string) string {
		return "{\n  \"result\": \"" + result + "\",\n  \"checks\": [\n" + checks + "\n  ]\n}\n"
	}
	const fineJSON = "    {\n      \"name\": \"settings\",\n      \"status\": \"ok\",\n      \"detail\": \"right\"\n    }"
	wrong := config.Refuse("data_dir", "is wrong")
	for name, c := range map[string]struct {
		args   []string
		checks []doctor.Check
		err    error
		want   outcome
		given  string
	}{
		"all well":               {nil, []doctor.Check{fine}, nil, outcome{0, fineLine, ""}, asked},
		"warnings alone":         {nil, []doctor.Check{fine, unwise}, nil, outcome{0, fineLine + unwiseLines, ""}, asked},
		"a failure":              {nil, []doctor.Check{unwise, broken, fine}, nil, outcome{1, unwiseLines + brokenLines + fineLine, Name + ": 1 of 3 checks failed\n"}, asked},
		"for programs":           {[]string{"--format", "json"}, []doctor.Check{fine}, nil, outcome{0, json("ok", fineJSON), ""}, asked},
		"flags and nginx":        {[]string{"--addr", "127.0.0.1:1", "--nginx-conf=x", "-f", "text"}, []doctor.Check{fine}, nil, outcome{0, fineLine, ""}, "127.0.0.1:1 x"},
		"found wrong in looking": {nil, nil, wrong, outcome{2, "", Name + ": data_dir: is wrong\n" + examineHint}, asked},
		"no look at all":         {nil, nil, errors.New("no memory"), outcome{1, "", Name + ": no memory\n"}, asked},
		"another form":           {[]string{"--format=xml"}, nil, nil, outcome{2, "", Name + ": --format: \"xml\" is not accepted; want text, json\n" + examineHint}, "not asked"},
		"wrong settings": {[]string{"--backend=cloud"}, nil, nil,
			outcome{2, "", Name + ": backend (flag --backend): \"cloud\" is not accepted; want static, events\n" + examineHint}, "not asked"},
		"wrong settings, for programs": {[]string{"--backend=cloud", "--format=json", "--unknown"}, nil, nil,
			outcome{2, json("failed", "    {\n      \"name\": \"settings\",\n      \"status\": \"failed\",\n      \"detail\": \"unknown flag \\\"--unknown\\\"\",\n      \"do\": \"correct it; nothing else was looked at\"\n    },\n"+
				"    {\n      \"name\": \"settings\",\n      \"status\": \"failed\",\n      \"detail\": \"backend (flag --backend): \\\"cloud\\\" is not accepted; want static, events\",\n      \"do\": \"correct it; nothing else was looked at\"\n    }"),
				Name + ": 2 problems with the settings\n  unknown flag \"--unknown\"\n  backend (flag --backend): \"cloud\" is not accepted; want static, events\n" + examineHint}, "not asked"},
	} {
		t.Run(name, func(t *testing.T) {
			got, given := examined(t, c.args, doctor.Report{Checks: c.checks}, c.err)
			require.Equal(t, c.want, got)
			require.Equal(t, c.given, given, "what was looked at")
		})
	}
}
