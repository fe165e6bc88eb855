package main

import (
	"fmt"
	"io"
	"strings"
)

// introduce says what runs.
func (s *stack) introduce(out io.Writer) {
	front := "nginx, with deploy/nginx/bus-vm.conf"
	if s.noNginx {
		front = "the gateway itself"
	}
	fmt.Fprintf(out, "API      %s (%s)\nEvents   %s (with VM, billing and usage workers)\nfiles    %s\n", s.base, front, s.platform.URL(), s.dir)
}

// invite says how to go on by hand.
func (s *stack) invite(out io.Writer) {
	fmt.Fprintf(out, "\nEverything keeps running; Ctrl-C ends it. In another terminal:\n\nTOKEN=%s\ncurl -sS -H \"Authorization: Bearer $TOKEN\" %s/api/v1/vm/status\ntail -f %s\n",
		s.platform.CallerToken(paying, "vm:read vm:write"), s.base, strings.Join(s.logs(), " "))
}

func (s *stack) logs() []string {
	logs := []string{s.provider.log}
	if s.front != nil {
		logs = append(logs, s.front.log)
	}
	return logs
}
