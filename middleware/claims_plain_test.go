package middleware

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Which claims sets are read the short way, and that they are read alike.
func TestPlainClaims(t *testing.T) {
	const tail = `"sub":"s","aud":"a","exp":1}`
	for claims, plain := range map[string]bool{
		`{` + tail: true,
		`{"sub":"s","aud":["a","ai.hg.fi/api"],"exp":253402300799,"nbf":0,"iat":7,"scope":"vm:read  vm:write x ","jti":"j"}`: true,
		`{"scope":"",` + tail:             true,
		`{"scope":" ",` + tail:            true,
		`{"x":["a","b"],` + tail:          true,
		`{"exp":1,"aud":"","sub":" s "}`:  true,
		`{"nbf":999999999999,` + tail:     false,
		`{"nbf":-1,` + tail:               false,
		`{"iat":-0,` + tail:               false,
		`{"iat":01,` + tail:               false,
		`{"iat":1.5,` + tail:              false,
		`{"iat":1e3,` + tail:              false,
		`{"iat":1234567890123456,` + tail: false,
		`{"iat":,` + tail:                 false,
		`{"x":null,` + tail:               false,
		`{"x":{},` + tail:                 false,
		`{"x":[],` + tail:                 false,
		`{"x":["a",],` + tail:             false,
		`{"x":["a",1],` + tail:            false,
		`{"x":"\u0061",` + tail:           false,
		`{"x":"å",` + tail:                false,
		"{\"x\":\"\x7f\"," + tail:         false,
		"{\"x\":\"\t\"," + tail:           false,
		`{"\u0061ud":"b",` + tail:         false,
		`{"x":1,"x":2,` + tail:            false,
		`{"sub":"t",` + tail:              false,
		`{"scope":["vm:read"],` + tail:    false,
		`{ ` + tail:                       false,
		`{` + tail + ` `:                  false,
		`{` + tail + `}`:                  false,
		`{,` + tail:                       false,
		`{"x":1,}`:                        false,
		`{"sub":"","aud":"a","exp":1}`:    false,
		`{"sub":" ","aud":"a","exp":1}`:   false,
		`{"sub":"s","aud":"a","exp":0}`:   false,
		`{"sub":"s","aud":"a","exp":"1"}`: false,
		`{"sub":"s","aud":"a"}`:           false,
		`{"sub":"s","exp":1}`:             false,
		`{"aud":"a","exp":1}`:             false,
		`{"SUB":"s","aud":"a","exp":1}`:   false,
		`{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"k":1,"l":1,"m":1,"n":1,` + tail: false,
		`{}`: false, `{`: false, ``: false, `null`: false, `[` + tail: false, `{"sub`: false, `{"sub"`: false, `{"sub":`: false,
	} {
		var c tokenClaims
		assert.Equal(t, plain, c.readPlain([]byte(claims)), claims)
		holdAlike(t, []byte(claims))
	}
}

// holdAlike holds the short way to what the long way reads.
func holdAlike(t *testing.T, claims []byte) {
	var plain, strict tokenClaims
	if !plain.readPlain(claims) {
		return
	}
	require.NoError(t, strict.readStrictly(claims), "%q", claims)
	require.Equal(t, strict, plain, "%q", claims)
}

func FuzzPlainClaims(f *testing.F) {
	for _, seed := range []string{
		`{"sub":"s","aud":"a","exp":1}`, `{"sub":"s","aud":["a","b"],"exp":1800000000,"nbf":1,"iat":0,"scope":"a b","jti":"j"}`,
		`{"exp":1,"exp":2}`, `{"sub":"\u0073"}`, `{"x":[],"y":{"z":1e9}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, claims []byte) { holdAlike(t, claims) })
}
