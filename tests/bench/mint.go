package main

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
	"os"
	"strings"
	"time"

	"github.com/busdk/bus-api-provider-vm/tests/bench/peers/wire"
)

// benchSecret signs the tokens of a run. It protects nothing.
const benchSecret = "not-a-secret-benchmark-hs256-key"

// mint makes tokens fast: a run takes more than a million.
type mint struct {
	mac   hash.Hash
	count int
}

func newMint() *mint { return &mint{mac: hmac.New(sha256.New, []byte(benchSecret))} }

// claims are what a token of a run says beside a subject of its own.
type claims struct {
	scope string
	lasts time.Duration
}

var (
	good    = claims{"vm:read vm:write", 2 * time.Hour}
	expired = claims{"vm:read vm:write", -time.Hour}
	noRead  = claims{"vm:write", 2 * time.Hour}
)

var encodedHeader = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`))

// token returns a token with a subject that no other one has.
func (m *mint) token(c claims) string {
	m.count++
	expires := time.Now().Add(c.lasts)
	payload := fmt.Sprintf(`{"aud":"%s","exp":%d,"iat":%d,"scope":"%s","sub":"00000000-0000-4000-8000-%012x"}`,
		wire.Audience, expires.Unix(), expires.Add(-2*time.Hour).Unix(), c.scope, m.count)
	signed := encodedHeader + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	m.mac.Reset()
	m.mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(m.mac.Sum(nil))
}

// forged returns a token whose signature is another token's.
func (m *mint) forged() string {
	one, other := m.token(good), m.token(good)
	return one[:strings.LastIndexByte(one, '.')] + other[strings.LastIndexByte(other, '.'):]
}

// file writes n new tokens, one a line, over the last file of that name.
func (m *mint) file(path string, n int, c claims) string {
	file := must(os.Create(path))
	defer file.Close()
	out := bufio.NewWriter(file)
	for range n {
		_, _ = out.WriteString(m.token(c)) // Flush tells
		_ = out.WriteByte('\n')
	}
	check(out.Flush())
	return path
}
