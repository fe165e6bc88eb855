package admin

import (
	"fmt"
	"io"
	"net/http"
)

// Check is one condition of readiness.
type Check struct {
	Name  string
	Ready func() error // nil when met, else why not
}

// ready answers like the public /readyz; with ?verbose each check has a line.
func (c Config) ready(w http.ResponseWriter, r *http.Request) {
	status := http.StatusOK
	lines := ""
	for _, check := range c.Checks {
		if err := check.Ready(); err != nil {
			status = http.StatusServiceUnavailable
			lines += fmt.Sprintf("[-] %s: %v\n", check.Name, err)
		} else {
			lines += fmt.Sprintf("[+] %s ok\n", check.Name)
		}
	}
	if r.URL.Query().Has("verbose") {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, lines)
		return
	}
	answer(w, status, map[string]bool{"ok": status == http.StatusOK})
}
