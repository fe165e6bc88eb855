module github.com/busdk/bus-api-provider-vm/tests/plugin

go 1.26.0

require (
	github.com/busdk/bus-api-provider-vm v0.0.0
	github.com/gofiber/fiber/v2 v2.52.15
)

require (
	github.com/MicahParks/keyfunc/v2 v2.1.0 // indirect
	github.com/VictoriaMetrics/metrics v1.45.0 // indirect
	github.com/go-json-experiment/json v1.27.2 // indirect
	github.com/gofiber/contrib/jwt v1.1.2 // indirect
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/mattn/go-colorable v0.1.13 // indirect
	github.com/mattn/go-isatty v0.0.24 // indirect
	github.com/mattn/go-runewidth v0.0.16 // indirect
	github.com/maypok86/otter/v2 v2.4.0 // indirect
	github.com/molecule-man/go-brrr v1.3.1 // indirect
	github.com/rivo/uniseg v0.2.0 // indirect
	github.com/valyala/bytebufferpool v1.0.0 // indirect
	github.com/valyala/fasthttp v1.78.0 // indirect
	github.com/valyala/fastrand v1.1.0 // indirect
	github.com/valyala/histogram v1.2.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/time v0.16.0 // indirect
)

// The module that is mounted is the one in this repository.
replace github.com/busdk/bus-api-provider-vm => ../..
