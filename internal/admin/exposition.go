package admin

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"

	"github.com/VictoriaMetrics/metrics"

	"github.com/busdk/bus-api-provider-vm/internal/version"
)

// expositionType is the content type of the text format 0.0.4.
const expositionType = "text/plain; version=0.0.4; charset=utf-8"

// registerBuild makes the constant that says which build answers.
func registerBuild(set *metrics.Set) {
	set.GetOrCreateGauge(fmt.Sprintf("bus_vm_build_info{version=%q,goversion=%q}", version.String(), runtime.Version()),
		func() float64 { return 1 })
}

func (c Config) metrics(w http.ResponseWriter, _ *http.Request) {
	var samples bytes.Buffer
	c.Metrics.WritePrometheus(&samples)
	metrics.WriteProcessMetrics(&samples)
	metrics.WriteFDMetrics(&samples)
	w.Header().Set("Content-Type", expositionType)
	describe(w, samples.String())
}

// describe writes samples with HELP and TYPE in front of each family, which the
// library leaves out: it knows types for all sets of a process or for none, and
// no words at all. Samples of one family stand together in what it writes. Of
// the process and the Go runtime only what families lists is shown.
func describe(w io.Writer, samples string) {
	var b bytes.Buffer
	families, described := byName(), ""
	for line := range strings.Lines(samples) {
		f, known := familyOf(families, sampleName(line))
		switch {
		case !known && !strings.HasPrefix(line, prefix):
			continue
		case known && f.Name != described:
			fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", f.Name, f.Help, f.Name, f.Kind)
			described = f.Name
		}
		b.WriteString(line)
	}
	_, _ = w.Write(b.Bytes()) // the operator went away
}

// sampleName is the name that a line of the text format begins with.
func sampleName(line string) string {
	if end := strings.IndexAny(line, "{ "); end >= 0 {
		return line[:end]
	}
	return line
}

// familyOf finds the family that a sample belongs to.
func familyOf(families map[string]Family, sample string) (Family, bool) {
	if f, ok := families[sample]; ok {
		return f, true
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if name, ok := strings.CutSuffix(sample, suffix); ok {
			f, known := families[name]
			return f, known && f.Kind == histogram
		}
	}
	return Family{}, false
}
