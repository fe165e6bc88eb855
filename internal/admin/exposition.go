package admin

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/VictoriaMetrics/metrics"
)

// expositionType is the content type of the text format 0.0.4.
const expositionType = "text/plain; version=0.0.4; charset=utf-8"

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
// the process and the Go runtime only what Families lists is shown.
func describe(w io.Writer, samples string) {
	var b bytes.Buffer
	families, described := bySample(), ""
	for line := range strings.Lines(samples) {
		name, _, _ := strings.Cut(line, " ")
		name, _, _ = strings.Cut(name, "{")
		f, known := families[name]
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

// bySample indexes Families by the names of their samples.
func bySample() map[string]Family {
	index := make(map[string]Family)
	for _, f := range Families() {
		if f.Kind != histogram {
			index[f.Name] = f
			continue
		}
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			index[f.Name+suffix] = f
		}
	}
	return index
}
