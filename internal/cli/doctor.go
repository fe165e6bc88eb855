package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/doctor"
)

// Examine looks at everything that serving with c would need, and at the file
// nginxConf, empty for none. Its error is that of Serve.
type Examine func(ctx context.Context, c *config.Config, nginxConf string) (doctor.Report, error)

func doctorCommand() command {
	return command{
		name:    "doctor",
		summary: "Look at everything that serving needs, before traffic does, and say what to do. Changes nothing.",
		usage:   Name + " doctor [flags] [--nginx-conf FILE] [--format text|json]",
		examples: []example{
			{"Before the first start, and whenever something is wrong.", Name + " doctor --config config.yaml"},
			{"With the whole configuration of nginx.", "nginx -T > nginx.txt; " + Name + " doctor --config config.yaml --nginx-conf nginx.txt"},
		},
		options: []option{
			{flag: "nginx-conf", valueName: "file", usage: "Configuration of the nginx in front, or what nginx -T prints."},
			{flag: "format", short: "f", valueName: "text|json", fallback: "text", usage: "Form of the report."},
			helpOption,
		},
		keep: config.AllFlags,
	}
}

// runDoctor prints what was found. Wrong settings are a matter of usage, like
// everywhere; then they are all that is looked at.
func runDoctor(ctx context.Context, args []string, env Env) error {
	flags := newFlagSet(doctorCommand())
	usage := config.ParseFlags(flags, args)
	if isSet(flags, "help") {
		return printHelp(env.Stdout, doctorCommand())
	}
	format := flags.Lookup("format").Value.String()
	if format != "text" && format != "json" {
		usage = config.Join(usage, config.Refuse("--format", fmt.Sprintf("%q is not accepted; want text or json", format)))
	}
	c, err := config.Load(config.Input{Flags: flags, Environ: env.Environ})
	var report doctor.Report
	if err = config.Join(usage, err); err == nil {
		report, err = env.Examine(ctx, c, flags.Lookup("nginx-conf").Value.String())
	}
	var wrong *config.Error
	if errors.As(err, &wrong) {
		report = wrongSettings(wrong)
	} else if err != nil {
		return err
	}
	switch {
	case format == "json":
		if err := report.WriteJSON(env.Stdout); err != nil {
			return err
		}
	case err == nil: // what is wrong with the settings is said on stderr
		if err := report.WriteText(env.Stdout); err != nil {
			return err
		}
	}
	if failed := report.Count(doctor.Failed); err == nil && failed > 0 {
		err = fmt.Errorf("%d of %d checks failed", failed, len(report.Checks))
	}
	return err
}

func wrongSettings(wrong *config.Error) (report doctor.Report) {
	for _, problem := range wrong.Problems {
		report.Checks = append(report.Checks, doctor.Check{
			Name: "settings", Status: doctor.Failed, Detail: problem.String(), Do: "correct it; nothing else was looked at",
		})
	}
	return report
}
