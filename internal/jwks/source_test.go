package jwks

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

// timetable notes when it is asked.
type timetable struct {
	asked  []time.Duration
	began  time.Time
	down   time.Duration // how long it fails
	answer string
}

func (t *timetable) RoundTrip(*http.Request) (*http.Response, error) {
	t.asked = append(t.asked, time.Since(t.began))
	if time.Since(t.began) < t.down {
		return nil, errors.New("down")
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewBufferString(t.answer))}, nil
}

// within runs a Remote against table in a bubble, where time passes while all
// sleep.
func within(t *testing.T, table *timetable, do func(*fetcher)) {
	table.answer = hostile.JWKS(rfcEd25519)
	synctest.Test(t, func(t *testing.T) {
		table.began = time.Now()
		f := newFetcher(t, "https://id.example")
		f.client = &http.Client{Transport: table}
		f.during(t, func() { do(f) })
	})
}

// pass lets time pass in the bubble.
func pass(d time.Duration) { <-time.After(d) }

// about expects pauses that are between the half and the whole of the given
// ones.
func about(t *testing.T, asked []time.Duration, pauses ...time.Duration) {
	t.Helper()
	if !assert.Len(t, asked, len(pauses), "%v", asked) {
		return
	}
	var before time.Duration
	for i, moment := range asked {
		pause := moment - before
		assert.True(t, pause <= pauses[i] && pause >= pauses[i]/2, "%d: after %s, not %s", i, pause, pauses[i])
		before = moment
	}
}

func TestFetchesWhenDue(t *testing.T) {
	table := &timetable{}
	within(t, table, func(*fetcher) { pass(11 * time.Minute) })
	assert.Equal(t, []time.Duration{0, 5 * time.Minute, 10 * time.Minute}, table.asked)
}

// Before the first keys as after an outage, the pauses grow, and a success
// starts again.
func TestFetchesAfterFailures(t *testing.T) {
	table := &timetable{down: 7 * time.Second} // at most 1 + 2 + 4
	within(t, table, func(f *fetcher) {
		pass(7 * time.Second)
		assert.Error(t, f.Ready())
		pass(time.Minute)
		assert.NoError(t, f.Ready())
	})
	about(t, table.asked, 0, time.Second, 2*time.Second, 4*time.Second, 8*time.Second)
}

// Tokens with unknown keys, however many, cause one fetch in missedInterval.
func TestUnknownKeysCauseFewFetches(t *testing.T) {
	table := &timetable{}
	within(t, table, func(f *fetcher) {
		for range 350 {
			f.Missed()
			pass(100 * time.Millisecond)
		}
	})
	assert.Equal(t, []time.Duration{0, 10 * time.Second, 20 * time.Second, 30 * time.Second}, table.asked)

	rare := &timetable{}
	within(t, rare, func(f *fetcher) {
		pass(time.Minute)
		f.Missed()
		pass(time.Minute)
	})
	assert.Equal(t, []time.Duration{0, time.Minute}, rare.asked)
}

// They do not put off a fetch that is due before that.
func TestUnknownKeysPutNothingOff(t *testing.T) {
	table := &timetable{down: time.Minute}
	within(t, table, func(f *fetcher) {
		for range 6 {
			f.Missed()
			pass(500 * time.Millisecond)
		}
	})
	about(t, table.asked, 0, time.Second, 2*time.Second)
}

// An operator does not wait.
func TestRefreshIsAtOnce(t *testing.T) {
	table := &timetable{}
	within(t, table, func(f *fetcher) {
		for range 3 {
			pass(time.Second)
			f.Refresh()
		}
		pass(time.Second)
	})
	assert.Equal(t, []time.Duration{0, time.Second, 2 * time.Second, 3 * time.Second}, table.asked)
}

// Another spelling of the same keys is no change.
func TestUnchangedKeys(t *testing.T) {
	key := hostile.NewSigner(EdDSA, "k")
	p := publish(t, httptest.NewServer, document(hostile.JWKS(key.JWK())))
	f := newFetcher(t, p.URL)
	f.during(t, func() {
		harness.Next(t, f.used)
		harness.Next(t, p.served)
		p.now(document(hostile.JWKS(key.JWK(`"n":"x"`), `{"kty":"new"}`)))
		for range 2 {
			f.Refresh()
			harness.Next(t, p.served)
		}
	})
	assert.Empty(t, f.used)
	assert.Contains(t, f.scrape(), `bus_vm_jwks_fetches_total{result="changed"} 1`)
	assert.Contains(t, f.scrape(), "bus_vm_jwks_skipped_keys 1\n")
}

// What no certificate vouches for is not read.
func TestTransportSecurity(t *testing.T) {
	key := hostile.NewSigner(EdDSA, "k")
	p := publish(t, httptest.NewTLSServer, document(hostile.JWKS(key.JWK())))
	trusting := newFetcher(t, p.URL)
	trusting.client = p.Client()
	trusting.during(t, func() { assert.Equal(t, []string{"k (EdDSA)"}, harness.Next(t, trusting.used)) })

	strict := newFetcher(t, p.URL)
	strict.during(t, func() {
		assert.Equal(t, `level=ERROR msg="fetching public keys failed and there are none yet; /readyz stays 503" `+
			`cause="tls: failed to verify certificate: x509: certificate signed by unknown authority" `+
			`do="look at the server behind --jwks-url; it is asked again until it answers well"`, harness.Next(t, strict.lines))
	})
	assert.Error(t, strict.Ready())
}

func TestURLs(t *testing.T) {
	for _, url := range []string{
		"https://id.example/jwks", "https://id.example:8443/jwks?app=1", "https://[2001:db8::1]",
		"http://127.0.0.1:1/jwks", "http://[::1]/", "http://localhost:8080/x", "HTTPS://ID.EXAMPLE",
	} {
		assert.NoError(t, CheckURL(url), url)
	}
	for _, url := range []string{
		"", "id.example/jwks", "//id.example", "https:///jwks", "https://", "https:id.example", "ftp://id.example", "file:///etc/jwks.json",
		"http://id.example/jwks", "http://127.0.0.1.example/", "http://localhost.example/", "http://10.0.0.1/", "http://0.0.0.0/",
		"https://user@id.example", "https://user:hunter2@id.example", "https://id.example/#x", "https://id.example:port/", "https://a b/",
	} {
		assert.ErrorIs(t, CheckURL(url), ErrURL, url)
		_, err := Fetch(t.Context(), Client, url)
		assert.ErrorIs(t, err, ErrURL, url)
	}
}
