package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Report is all that was found.
type Report struct{ Checks []Check }

// Result is the worst status.
func (r Report) Result() Status {
	worst := OK
	for _, check := range r.Checks {
		if check.Status == Failed {
			return Failed
		}
		if check.Status == Warning {
			worst = Warning
		}
	}
	return worst
}

// Count is how many checks went so.
func (r Report) Count(status Status) (n int) {
	for _, check := range r.Checks {
		if check.Status == status {
			n++
		}
	}
	return n
}

// MarshalJSON makes {"result","checks":[{"name","status","detail","do"?}]}.
func (r Report) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Result Status  `json:"result"`
		Checks []Check `json:"checks"`
	}{r.Result(), r.Checks})
}

// WriteJSON writes the document for programs.
func (r Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// shown is how people read a status.
var shown = map[Status]string{OK: "ok", Warning: "warn", Failed: "FAIL"}

// WriteText writes a line for each check, and one below it that says what to
// do.
func (r Report) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, check := range r.Checks {
		fmt.Fprintf(&b, "%-4s  %-14s  %s\n", shown[check.Status], check.Name, check.Detail)
		if check.Do != "" {
			fmt.Fprintf(&b, "%-4s  %-14s  do: %s\n", "", "", check.Do)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
