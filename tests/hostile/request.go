package hostile

import (
	"fmt"
	"slices"
	"strings"
)

// Canary stands in every part of a bad request that its sender controls, so
// that an answer which repeats any of it gives itself away.
const Canary = "cAnArY"

// Request is one raw request of a table, sent as it is on a connection of its
// own, which the server closes after the last answer.
type Request struct {
	Name string
	Raw  string
	// Want holds the status of each answer in turn; none means that the
	// connection closes without a word.
	Want []int
}

// smuggled is what must never be answered: a request inside another's body.
const smuggled = "GET /smuggled-" + Canary + " HTTP/1.1\r\nHost: x\r\n\r\n"

// BadRequests are refused before any route is looked at, each in one answer. A
// server that takes them all for good ones would answer 200 or 404.
func BadRequests() []Request {
	return slices.Concat(badFraming(), badChunks(), badLines(), badTargets(), badProtocols(), badHosts(), tooLarge())
}

// get is a request for /livez with further header lines, which the caller
// ends, and whatever follows.
func get(lines, rest string) string {
	return "GET /livez HTTP/1.1\r\nHost: " + Canary + "\r\n" + lines + "\r\n" + rest
}

// post is the same with a method that may have a body.
func post(lines, rest string) string {
	return "POST /livez HTTP/1.1\r\nHost: " + Canary + "\r\n" + lines + "\r\n" + rest
}

func bad(name, raw string) Request { return Request{Name: name, Raw: raw, Want: []int{400}} }

func badFraming() []Request {
	chunked := "Transfer-Encoding: chunked\r\n"
	return []Request{
		bad("Content-Length twice, differing", post("Content-Length: 4\r\nContent-Length: 0\r\n", smuggled)),
		bad("Content-Length twice, the same", post("Content-Length: 0\r\nContent-Length: 0\r\n", smuggled)),
		bad("Content-Length twice in other cases", post("content-length: 0\r\nCONTENT-LENGTH: 4\r\n", smuggled)),
		bad("Content-Length list", post("Content-Length: 0, 0\r\n", smuggled)),
		bad("Content-Length empty", post("Content-Length:\r\n", smuggled)),
		bad("Content-Length negative", post("Content-Length: -1\r\n", smuggled)),
		bad("Content-Length with a plus", post("Content-Length: +0\r\n", smuggled)),
		bad("Content-Length hexadecimal", post("Content-Length: 0x0\r\n", smuggled)),
		bad("Content-Length with a fraction", post("Content-Length: 0.0\r\n", smuggled)),
		bad("Content-Length with text", post("Content-Length: 0 "+Canary+"\r\n", smuggled)),
		bad("Content-Length beyond int64", post("Content-Length: 9223372036854775808\r\n", smuggled)),
		bad("Content-Length that wraps around", post("Content-Length: 18446744073709551616\r\n", smuggled)),
		bad("both lengths, empty chunked body", post("Content-Length: 5\r\n"+chunked, "0\r\n\r\n"+smuggled)),
		bad("both lengths, chunked body", post("Content-Length: 4\r\n"+chunked, "2\r\n{}\r\n0\r\n\r\n"+smuggled)),
		bad("both lengths, the other way round", post(chunked+"Content-Length: 100\r\n", "0\r\n\r\n"+smuggled)),
		bad("both lengths on a GET", get("Content-Length: 5\r\n"+chunked, "0\r\n\r\n"+smuggled)),
		bad("Transfer-Encoding twice", post(chunked+chunked, "0\r\n\r\n"+smuggled)),
		bad("Transfer-Encoding unknown", post("Transfer-Encoding: "+Canary+"\r\n", "0\r\n\r\n"+smuggled)),
		bad("Transfer-Encoding gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"+smuggled)),
		bad("Transfer-Encoding chunked, identity", post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"+smuggled)),
		bad("Transfer-Encoding identity", post("Transfer-Encoding: identity\r\n", smuggled)),
		bad("Transfer-Encoding identity and a length", post("Content-Length: 0\r\nTransfer-Encoding: identity\r\n", smuggled)),
		bad("Transfer-Encoding empty", post("Transfer-Encoding:\r\n", smuggled)),
		bad("Transfer-Encoding quoted", post("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"+smuggled)),
		bad("Transfer-Encoding with a vertical tab", post("Transfer-Encoding: \vchunked\r\n", "0\r\n\r\n"+smuggled)),
		bad("Transfer-Encoding with a space before its colon", post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"+smuggled)),
		bad("Transfer-Encoding folded", post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"+smuggled)),
		bad("Transfer-Encoding in HTTP/1.0", "POST /livez HTTP/1.0\r\n"+chunked+"\r\n0\r\n\r\n"+smuggled),
	}
}

func badChunks() []Request {
	var requests []Request
	for _, c := range []struct{ name, body string }{
		{"size not hexadecimal", Canary + "\r\n"},
		{"size negative", "-1\r\n" + Canary},
		{"size with a plus", "+2\r\n{}\r\n0\r\n\r\n"},
		{"size with a prefix", "0x2\r\n{}\r\n0\r\n\r\n"},
		{"size missing", "\r\n0\r\n\r\n"},
		{"size overflowing", "fffffffffffffffff\r\n" + Canary},
		{"size larger than any body", "7fffffffffffffff\r\n" + Canary},
		{"size smaller than its chunk", "1\r\n" + Canary + "\r\n0\r\n\r\n"},
		{"no line break behind a chunk", "2\r\n{}0\r\n\r\n"},
		{"bare line feed behind a size", "2\n{}\r\n0\r\n\r\n"},
		{"bare line feed behind a chunk", "2\r\n{}\n0\r\n\r\n"},
		{"bare carriage return behind a size", "2\r{}\r\n0\r\n\r\n"},
		{"line feed in an extension", "2;a=\n" + Canary + "\r\n{}\r\n0\r\n\r\n"},
		{"trailer without a colon", "0\r\n" + Canary + "\r\n\r\n"},
		{"forbidden trailer", "0\r\nContent-Length: 7\r\n\r\n"},
	} {
		requests = append(requests, bad("chunk: "+c.name, post("Transfer-Encoding: chunked\r\n", c.body+smuggled)))
	}
	return requests
}

func badLines() []Request {
	return []Request{
		bad("bare line feeds", "GET /livez HTTP/1.1\r\nHost: x\nX: "+Canary+"\n\r\n\r\n"),
		bad("one bare line feed", get("X-A: "+Canary+"\nX-B: b\r\n", "")),
		bad("smuggled behind a bare line feed", post("X-A: a\nContent-Length: 5\r\n", "abcde"+smuggled)),
		bad("bare carriage return", get("X-A: a\rX-B: "+Canary+"\r\n", "")),
		bad("NUL in a value", get("X-A: \x00"+Canary+"\r\n", "")),
		bad("NUL in a name", get("X\x00: "+Canary+"\r\n", "")),
		bad("control character in a value", get("X-A: \x01"+Canary+"\r\n", "")),
		bad("delete in a value", get("X-A: \x7f"+Canary+"\r\n", "")),
		bad("folded line", get("X-A: a\r\n "+Canary+"\r\n", "")),
		bad("line folded by a tab", get("X-A: a\r\n\t"+Canary+"\r\n", "")),
		bad("first line folded", "GET /livez HTTP/1.1\r\n Host: "+Canary+"\r\n\r\n"),
		bad("no colon", get(Canary+"\r\n", "")),
		bad("no name", get(": "+Canary+"\r\n", "")),
		bad("space before the colon", get("X-A : "+Canary+"\r\n", "")),
		bad("space in a name", get("X "+Canary+": a\r\n", "")),
		bad("parenthesis in a name", get("X(A): "+Canary+"\r\n", "")),
		bad("slash in a name", get("X/A: "+Canary+"\r\n", "")),
		bad("8-bit name", get("X\xe5: "+Canary+"\r\n", "")),
		bad("header that mentions a timeout", get("i/o timeout "+Canary+"\r\n", "")),
		bad("value that mentions a timeout", get("X-A: \x01i/o timeout\r\n", "")),
	}
}

func badTargets() []Request {
	line := func(l string) string { return l + "\r\nHost: x\r\nX-A: " + Canary + "\r\n\r\n" }
	return []Request{
		bad("no target", line("GET  HTTP/1.1")),
		bad("no target and one space", line("GET HTTP/1.1")),
		bad("relative target", line("GET livez HTTP/1.1")),
		bad("space in the target", line("GET /livez /"+Canary+" HTTP/1.1")),
		bad("two spaces", line("GET  /livez HTTP/1.1")),
		bad("tab for a space", line("GET\t/livez\tHTTP/1.1")),
		bad("NUL in the target", line("GET /livez\x00"+Canary+" HTTP/1.1")),
		bad("control character in the target", line("GET /\x01"+Canary+" HTTP/1.1")),
		bad("asterisk for a GET", line("GET * HTTP/1.1")),
		bad("no scheme", line("GET ://x/livez HTTP/1.1")),
		bad("no method", line(" /livez HTTP/1.1")),
		bad("method with a brace", line("G{T /livez HTTP/1.1")),
		bad("method with a NUL", line("G\x00T /livez HTTP/1.1")),
		bad("space before the method", line(" GET /livez HTTP/1.1")),
	}
}

func badProtocols() []Request {
	line := func(version string) string {
		return "GET /livez " + version + "\r\nHost: x\r\nX-A: " + Canary + "\r\n\r\n"
	}
	return []Request{
		bad("HTTP/0.9", "GET /livez\r\n\r\n"),
		bad("no version", line("")),
		bad("version in lower case", line("http/1.1")),
		bad("version without a minor", line("HTTP/1")),
		bad("version with a space behind", line("HTTP/1.1 ")),
		bad("version with more digits", line("HTTP/1.10")),
		bad("version of another protocol", line("ICY/1.1")),
		bad("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+Canary),
		bad("TLS hello", "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03"+Canary+"\r\n\r\n"),
		bad("SSH", "SSH-2.0-"+Canary+"\r\n\r\n"),
		bad("PROXY protocol", "PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n"+get("", "")),
		bad("a response", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
		bad("noise", strings.Repeat("\x80\xff"+Canary, 20)+"\r\n\r\n"),
	}
}

func badHosts() []Request {
	host := func(lines string) string { return "GET /livez HTTP/1.1\r\n" + lines + "X-A: " + Canary + "\r\n\r\n" }
	return []Request{
		bad("no Host", host("")),
		bad("empty Host", host("Host:\r\n")),
		bad("Host twice", host("Host: x\r\nHost: "+Canary+"\r\n")),
		bad("Host twice, the same", host("Host: x\r\nhost: x\r\n")),
		bad("Host with a space", host("Host: x "+Canary+"\r\n")),
		bad("Host with a path", host("Host: x/"+Canary+"\r\n")),
		bad("Host with a port that is none", host("Host: x:"+Canary+"\r\n")),
		bad("Host with an open bracket", host("Host: [::1\r\n")),
		bad("Host list", host("Host: x, "+Canary+"\r\n")),
	}
}

func tooLarge() []Request {
	long := strings.Repeat(Canary, 20<<10/len(Canary))
	return []Request{
		{"header of 20 KB", get("X-A: "+long+"\r\n", ""), []int{431}},
		{"header name of 20 KB", get(long+": a\r\n", ""), []int{431}},
		{"request line of 20 KB", "GET /" + long + " HTTP/1.1\r\nHost: x\r\n\r\n", []int{431}},
		{"method of 20 KB", long + " / HTTP/1.1\r\nHost: x\r\n\r\n", []int{431}},
		{"one line of 20 KB", long, []int{431}},
		{"2000 headers", get(strings.Repeat("X-A: "+Canary+"\r\n", 2000), ""), []int{431}},
		{"token of 20 KB", get("Authorization: Bearer "+long+"\r\n", ""), []int{431}},
		{"body announced too large", post("Content-Length: 5000000\r\n", Canary), []int{413}},
		{"body in one chunk too large", post("Transfer-Encoding: chunked\r\n", "4c4b40\r\n"+Canary), []int{413}},
		{"body in many chunks too large", post("Transfer-Encoding: chunked\r\n",
			strings.Repeat(fmt.Sprintf("%x\r\n%s\r\n", len(long), long), 5)), []int{413}},
		{"body too large with Expect", post("Expect: 100-continue\r\nContent-Length: 5000000\r\n", ""), []int{413}},
	}
}
