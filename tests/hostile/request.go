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
// own, and the one answer that it gets.
type Request struct {
	Name, Raw string
	Status    int
	// Kept: the connection serves a next request. After any other answer it
	// closes, and what the request carried behind it is never looked at.
	Kept bool
}

// Head reports that the answer has no body.
func (r Request) Head() bool { return strings.HasPrefix(strings.TrimLeft(r.Raw, "\r\n"), "HEAD ") }

// Type is error.type of the answer, empty for one that is no error.
func (r Request) Type() string {
	return map[int]string{
		400: "bad_request", 401: "invalid_auth", 404: "not_found", 405: "method_not_allowed", 413: "request_body_too_large",
		431: "request_header_fields_too_large", 505: "http_version_not_supported",
	}[r.Status]
}

// smuggled is what must never be answered: a request inside another's body.
const smuggled = "GET /smuggled-" + Canary + " HTTP/1.1\r\nHost: x\r\n\r\n"

// Requests are the bad ones, which are refused before any route is looked at, and
// unusual ones that are good HTTP. A server that takes them all for good ones
// would answer 200 or 404.
func Requests() []Request {
	return slices.Concat(badFraming(), badChunks(), badLines(), badTargets(), badProtocols(), badHosts(), badHeads(), tooLarge(), odd())
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

func bad(name, raw string) Request { return Request{name, raw, 400, false} }

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
		{"bare line feed behind the last size", "0\n\r\n"},
		{"bare line feed behind the last chunk", "0\r\n\n"},
		{"bare line feed behind a trailer", "0\r\nX-A: " + Canary + "\n\r\n"},
		{"bare line feed behind the trailers", "0\r\nX-A: a\r\n\n"},
		{"folded trailer", "0\r\nX-A: a\r\n " + Canary + "\r\n\r\n"},
		{"space before the colon of a trailer", "0\r\nX-A : " + Canary + "\r\n\r\n"},
		{"NUL in a trailer", "0\r\nX-A: \x00" + Canary + "\r\n\r\n"},
		{"size of sixteen digits", "0000000000000002\r\n{}\r\n0\r\n\r\n"},
		{"space behind a size", "2 \r\n{}\r\n0\r\n\r\n"},
		{"space before a size", " 2\r\n{}\r\n0\r\n\r\n"},
		{"space before an extension", "2 ;a\r\n{}\r\n0\r\n\r\n"},
		{"underscore in a size", "0_2\r\n{}\r\n0\r\n\r\n"},
		{"carriage return in an extension", "2;a\rb\r\n{}\r\n0\r\n\r\n"},
		{"chunk longer than its size", "2\r\n{}" + Canary + "\r\n0\r\n\r\n"},
	} {
		requests = append(requests, bad("chunk: "+c.name, post("Transfer-Encoding: chunked\r\n", c.body+smuggled)))
	}
	return requests
}

func badLines() []Request {
	return []Request{
		bad("bare line feed behind the request line", "GET /livez HTTP/1.1\nHost: x\r\nX-A: "+Canary+"\r\n\r\n"),
		bad("bare line feeds throughout", "GET /livez HTTP/1.1\nHost: x\nX-A: "+Canary+"\n\n"),
		bad("bare line feed behind the headers", "GET /livez HTTP/1.1\r\nHost: x\r\nX-A: "+Canary+"\r\n\n"),
		bad("bare line feed before the request line", "\n"+get("", "")),
		bad("bare line feed between empty lines", "\r\n\n\r\n"+get("", "")),
		bad("bare carriage return before the request line", "\r"+get("", "")),
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
		bad("nothing behind the scheme", line("GET http:// HTTP/1.1")),
		bad("no host behind the scheme", line("GET http:///livez HTTP/1.1")),
		bad("a port for a host", line("GET http://:80/livez HTTP/1.1")),
		bad("one slash behind the scheme", line("GET http:/livez HTTP/1.1")),
		bad("no slash behind the scheme", line("GET http:livez HTTP/1.1")),
		bad("another scheme", line("GET ftp://x/livez HTTP/1.1")),
		bad("a scheme without hosts", line("GET file:///livez HTTP/1.1")),
		bad("a scheme that is none", line("GET 1http://x/livez HTTP/1.1")),
		bad("user information", line("GET http://"+Canary+":b@x/livez HTTP/1.1")),
		bad("empty user information", line("GET http://@x/livez HTTP/1.1")),
		bad("8-bit host in the target", line("GET http://x\xff/livez HTTP/1.1")),
		bad("port of letters in the target", line("GET http://x:"+Canary+"/livez HTTP/1.1")),
		bad("nothing but a fragment", line("GET #"+Canary+" HTTP/1.1")),
		bad("fragment behind a path", line("GET /livez#"+Canary+" HTTP/1.1")),
		bad("fragment behind a query", line("GET /livez?a#"+Canary+" HTTP/1.1")),
		bad("fragment in the absolute form", line("GET http://x/livez#"+Canary+" HTTP/1.1")),
		bad("query of the asterisk", line("OPTIONS *?a HTTP/1.1")),
		bad("authority with user information", line("CONNECT "+Canary+"@x:443 HTTP/1.1")),
		bad("authority of nothing but a port", line("CONNECT :443 HTTP/1.1")),
		bad("authority for a GET", line("GET x:443 HTTP/1.1")),
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
		bad("version with a sign", line("HTTP/+1.1")),
		bad("version with a comma", line("HTTP/1,1")),
		bad("version behind a tab", line("\tHTTP/1.1")),
		bad("version in 8 bits", line("HTTP/1.\xb1")),
		bad("two versions", line("HTTP/1.1 HTTP/1.1")),
		{"HTTP/2.0", line("HTTP/2.0"), 505, false},
		{"HTTP/9.9", line("HTTP/9.9"), 505, false},
		{"version of 0", line("HTTP/0.9"), 505, false},
		{"HTTP/2.0 with a body", "POST /livez HTTP/2.0\r\nHost: x\r\nContent-Length: 4\r\n\r\n" + smuggled, 505, false},
		{"HTTP/3.0 of bad lines", "GET /livez HTTP/3.0\n" + Canary + "\n\n", 400, false},
		{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + Canary, 505, false},
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
		bad("Host with an at sign alone", host("Host: @\r\n")),
		bad("Host with user information", host("Host: "+Canary+"@x\r\n")),
		bad("Host in 8 bits", host("Host: \xff\r\n")),
		bad("Host in UTF-8", host("Host: bücher.example\r\n")),
		bad("Host of nothing but a port", host("Host: :80\r\n")),
		bad("Host with two ports", host("Host: x:80:80\r\n")),
		bad("Host with a query", host("Host: x?"+Canary+"\r\n")),
		bad("Host with a fragment", host("Host: x#"+Canary+"\r\n")),
		bad("Host with a backslash", host("Host: x\\"+Canary+"\r\n")),
		bad("Host in quotes", host("Host: \""+Canary+"\"\r\n")),
		bad("Host in angle brackets", host("Host: <"+Canary+">\r\n")),
		bad("Host of a whole URL", host("Host: http://x\r\n")),
		bad("Host that is an address without brackets", host("Host: ::1\r\n")),
		bad("Host with text behind a bracket", host("Host: [::1]"+Canary+"\r\n")),
		bad("Host with a name in brackets", host("Host: ["+Canary+"]\r\n")),
		bad("Host with an IPv4 address in brackets", host("Host: [127.0.0.1]\r\n")),
		bad("Host with two opening brackets", host("Host: [[::1]\r\n")),
		bad("Host with a closing bracket", host("Host: ::1]\r\n")),
		bad("Host beside a good target", "GET http://x/livez HTTP/1.1\r\nHost: @\r\nX-A: "+Canary+"\r\n\r\n"),
		bad("Host of HTTP/1.0", "GET /livez HTTP/1.0\r\nHost: @\r\nX-A: "+Canary+"\r\n\r\n"),
		bad("Host with a percent sign", host("Host: %zz\r\n")),
		bad("Host list", host("Host: x, "+Canary+"\r\n")),
	}
}

// badHeads are refused in each of the places where that is found out, without a body.
func badHeads() []Request {
	head := func(lines, rest string) string {
		return "HEAD /livez HTTP/1.1\r\nHost: x\r\nX-A: " + Canary + "\r\n" + lines + "\r\n" + rest
	}
	const chunked = "Transfer-Encoding: chunked\r\n"
	long := strings.Repeat(Canary, 20<<10/len(Canary))
	return []Request{
		bad("HEAD without a target", "HEAD  HTTP/1.1\r\nHost: x\r\n\r\n"),
		bad("HEAD behind a bare line feed", "HEAD /livez HTTP/1.1\nHost: x\r\n\r\n"),
		bad("HEAD behind empty lines, without a Host", "\r\n\r\nHEAD /livez HTTP/1.1\r\n\r\n"),
		bad("HEAD with two Hosts", head("Host: y\r\n", "")),
		bad("HEAD of a bad Host", "HEAD /livez HTTP/1.1\r\nHost: a@"+Canary+"\r\n\r\n"),
		bad("HEAD of a fragment", "HEAD /livez#"+Canary+" HTTP/1.1\r\nHost: x\r\n\r\n"),
		bad("HEAD with a NUL", head("X-B: \x00\r\n", "")),
		bad("HEAD with a folded line", head("X-B: a\r\n b\r\n", "")),
		bad("HEAD with both lengths", head(chunked+"Content-Length: 5\r\n", "0\r\n\r\n"+smuggled)),
		bad("HEAD with a bad chunk", head(chunked, "x\r\n"+smuggled)),
		{"HEAD in HTTP/2.0", "HEAD /livez HTTP/2.0\r\nHost: x\r\n\r\n", 505, false},
		{"HEAD with a large body", head("Content-Length: 5000000\r\n", Canary), 413, false},
		{"HEAD with a large header", head("X-B: "+long+"\r\n", ""), 431, false},
		{"HEAD of a long target", "HEAD /" + long, 431, false},
	}
}

func tooLarge() []Request {
	long := strings.Repeat(Canary, 20<<10/len(Canary))
	return []Request{
		{"header of 20 KB", get("X-A: "+long+"\r\n", ""), 431, false},
		{"header name of 20 KB", get(long+": a\r\n", ""), 431, false},
		{"request line of 20 KB", "GET /" + long + " HTTP/1.1\r\nHost: x\r\n\r\n", 431, false},
		{"method of 20 KB", long + " / HTTP/1.1\r\nHost: x\r\n\r\n", 431, false},
		{"one line of 20 KB", long, 431, false},
		{"2000 headers", get(strings.Repeat("X-A: "+Canary+"\r\n", 2000), ""), 431, false},
		{"200 headers", get(strings.Repeat("X-A: "+Canary+"\r\n", 200), ""), 431, false},
		{"200 Authorization headers", get(strings.Repeat("Authorization: "+Canary+"\r\n", 200), ""), 431, false},
		{"header name of 300 bytes", get(strings.Repeat("x", 300)+": a\r\n", ""), 431, false},
		{"6 KB of tabs", get("X-A: "+strings.Repeat("\t", 6<<10)+Canary+"\r\n", ""), 431, false},
		{"200 trailers", post("Transfer-Encoding: chunked\r\n", "0\r\n"+strings.Repeat("X-A: "+Canary+"\r\n", 200)+"\r\n"), 413, false},
		{"a length behind 600 spaces", post("Content-Length:"+strings.Repeat(" ", 600)+"4\r\n", smuggled), 400, false},
		{"token of 20 KB", get("Authorization: Bearer "+long+"\r\n", ""), 431, false},
		{"body announced too large", post("Content-Length: 5000000\r\n", Canary), 413, false},
		{"body in one chunk too large", post("Transfer-Encoding: chunked\r\n", "4c4b40\r\n"+Canary), 413, false},
		{"body in many chunks too large", post("Transfer-Encoding: chunked\r\n",
			strings.Repeat(fmt.Sprintf("%x\r\n%s\r\n", len(long), long), 5)), 413, false},
		{"chunk extension without an end", post("Transfer-Encoding: chunked\r\n", "2;a="+long), 413, false},
		{"chunk extension of 20 KB", post("Transfer-Encoding: chunked\r\n", "2;a="+long+"\r\n{}\r\n0\r\n\r\n"), 413, false},
		{"chunk extensions of 20 KB together", post("Transfer-Encoding: chunked\r\n",
			strings.Repeat("1;a="+Canary+"\r\n \r\n", 2000)+"0\r\n\r\n"), 413, false},
		{"trailers of 20 KB", post("Transfer-Encoding: chunked\r\n", "0\r\nX-A: "+long+"\r\n\r\n"), 413, false},
		{"2000 trailers", post("Transfer-Encoding: chunked\r\n", "0\r\n"+strings.Repeat("X-A: "+Canary+"\r\n", 2000)+"\r\n"), 413, false},
		{"body too large with Expect", post("Expect: 100-continue\r\nContent-Length: 5000000\r\n", ""), 413, false},
	}
}

// odd are good HTTP. What has no Host, or says that it is the last, is.
func odd() []Request {
	const host = "Host: x\r\n\r\n"
	return []Request{
		{"50 headers", get(strings.Repeat("X-Forwarded-For: 192.0.2.1, 198.51.100.2\r\n", 50), ""), 200, true},
		{"15 KB of headers", get(strings.Repeat("X-A: "+strings.Repeat("x", 1<<10)+"\r\n", 15), ""), 200, true},
		{"HTTP/1.0", "GET /livez HTTP/1.0\r\n\r\n", 200, false},
		{"HTTP/1.0 with a Host", "GET /livez HTTP/1.0\r\n" + host, 200, false},
		{"HTTP/1.2", "GET /livez HTTP/1.2\r\nConnection: close\r\n\r\n", 200, false},
		{"the last request", "GET /livez HTTP/1.1\r\nConnection: close\r\n" + host, 200, false},
		{"the last one, with another behind it", "GET /livez HTTP/1.1\r\nConnection: close\r\n" + host + smuggled, 200, false},
		{"white space around a value", "GET /livez HTTP/1.1\r\nConnection: \t close \t \r\nHost:x\r\n\r\n", 200, false},
		{"empty lines before", "\r\n\r\nGET /livez HTTP/1.1\r\n" + host, 200, true},
		{"Host with an IPv6 address and a port", "GET /livez HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", 200, true},
		{"Host with an empty port", "GET /livez HTTP/1.1\r\nHost: x:\r\n\r\n", 200, true},
		{"Host of every sign that a name may have", "GET /livez HTTP/1.1\r\nHost: a_b-c.d~!$&'()*+,;=\r\n\r\n", 200, true},
		{"absolute form", "GET http://example.org/livez HTTP/1.1\r\n" + host, 200, true},
		{"absolute form of https", "GET https://example.org:8443/livez?a=b HTTP/1.1\r\n" + host, 200, true},
		{"absolute form in upper case", "GET HTTP://EXAMPLE.ORG/livez HTTP/1.1\r\n" + host, 200, true},
		{"absolute form of an address", "GET http://[::1]:80/livez HTTP/1.1\r\n" + host, 200, true},
		{"absolute form of nowhere", "GET http://example.org/x HTTP/1.1\r\n" + host, 404, true},
		{"absolute form without a path", "GET http://example.org HTTP/1.1\r\n" + host, 404, true},
		{"absolute form of a query", "GET http://example.org?/livez HTTP/1.1\r\n" + host, 404, true},
		{"asterisk form", "OPTIONS * HTTP/1.1\r\n" + host, 404, true},
		{"authority form", "CONNECT " + Canary + ":443 HTTP/1.1\r\n" + host, 404, true},
		{"TRACE", "TRACE /livez HTTP/1.1\r\nX-A: " + Canary + "\r\n" + host, 405, true},
		{"OPTIONS", "OPTIONS /livez HTTP/1.1\r\n" + host, 405, true},
		{"unknown method", "QUERY /livez HTTP/1.1\r\n" + host, 405, true},
		{"unknown method elsewhere", "PROPFIND /" + Canary + " HTTP/1.1\r\n" + host, 404, true},
		{"unknown method with a body", "PROPFIND /livez HTTP/1.1\r\nContent-Length: 2\r\n" + host + "{}", 405, true},
		{"unknown method, doubled slash", "QUERY //livez HTTP/1.1\r\n" + host, 404, true},
		{"unknown method, encoded path", "QUERY /%6civez HTTP/1.1\r\n" + host, 404, true},
		{"unknown method, dots", "QUERY /x/../livez HTTP/1.1\r\n" + host, 404, true},
		{"method in lower case", "get /livez HTTP/1.1\r\n" + host, 405, true},
		{"path in upper case", "GET /LIVEZ HTTP/1.1\r\n" + host, 404, true},
		{"path with a slash behind", "GET /livez/ HTTP/1.1\r\n" + host, 404, true},
		{"path with an encoded NUL", "GET /livez%00 HTTP/1.1\r\n" + host, 404, true},
		{"path that climbs out", "GET /../../etc/passwd HTTP/1.1\r\n" + host, 404, true},
		{"path with a parameter", "GET /livez;a=" + Canary + " HTTP/1.1\r\n" + host, 404, true},
		{"path in 8 bits", "GET /\xff" + Canary + " HTTP/1.1\r\n" + host, 404, true},
		{"query", "GET /livez?a=" + Canary + "&a HTTP/1.1\r\n" + host, 200, true},
		{"no token", "GET /api/v1/vm/status HTTP/1.1\r\n" + host, 401, true},
		{"a token that is none", "POST /api/v1/vm/start HTTP/1.1\r\nAuthorization: Bearer " + Canary + "\r\nContent-Length: 2\r\n" + host + "{}", 401, true},
		{"unknown Expect", "GET /livez HTTP/1.1\r\nExpect: " + Canary + "\r\n" + host, 200, true},
		{"100 Continue", "GET /livez HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n" + host + "{}", 200, true},
		{"Upgrade", "GET /livez HTTP/1.1\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n" + host, 200, true},
		{"body of a GET", "GET /livez HTTP/1.1\r\nContent-Length: 3\r\n" + host + "abc", 200, true},
		{"body like a request", "GET /livez HTTP/1.1\r\nContent-Length: " + fmt.Sprint(len(smuggled)) + "\r\n" + host + smuggled, 200, true},
		{"body of bare line feeds", "GET /livez HTTP/1.1\r\nContent-Length: 4\r\n" + host + "\n\n\n\n", 200, true},
		{"Content-Length with zeros before it", "GET /livez HTTP/1.1\r\nContent-Length: 0003\r\n" + host + "abc", 200, true},
		{"chunk like a request", "GET /livez HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + host +
			fmt.Sprintf("%X\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled), 200, true},
		{"chunk extension and trailer", "GET /livez HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n" + host +
			"2;a=b;c=\"d\"\r\n{}\r\n0;e\r\nX-A: " + Canary + "\r\n\r\n", 200, true},
		{"trailer that names a length of a request", "GET /livez HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + host +
			"000\r\nX-Length: 100\r\n\r\n", 200, true},
		{"broken form", "GET /livez HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 5\r\n" + host + "xxxxx", 200, true},
		{"HEAD", "HEAD /livez HTTP/1.1\r\n" + host, 200, true},
		{"HEAD of nothing", "HEAD /" + Canary + " HTTP/1.1\r\n" + host, 404, true},
		{"HEAD where POST belongs", "HEAD /api/v1/vm/stop HTTP/1.1\r\n" + host, 405, true},
		{"HEAD with a body", "HEAD /livez HTTP/1.1\r\nContent-Length: 2\r\n" + host + "{}", 200, true},
	}
}
