package config

// The keys that the rules between settings speak of.
const (
	keyConfig          = "config"
	keyDev             = "dev"
	keyAddr            = "addr"
	keyDataDir         = "data_dir"
	keyBackend         = "backend"
	keyBillingBackend  = "billing.backend"
	keyUsageBackend    = "usage.backend"
	keyEventsURL       = "events.url"
	keyEventsToken     = "events.token"
	keyEventsTokenFile = "events.token_file"
	keyRetryMin        = "events.listener_retry_min"
	keyRetryMax        = "events.listener_retry_max"
	keyJWTSecret       = "jwt.secret"
	keyJWTSecretFile   = "jwt.secret_file"
	keyJWKSFile        = "jwt.jwks_file"
	keyJWKSURL         = "jwt.jwks_url"
	keyMaxAge          = "status.max_age"
	keyRefresh         = "status.refresh"
	keyRefreshMoving   = "status.refresh_moving"
	keySocketGroup     = "socket.group"
	keyAdminAddr       = "admin.addr"
	keyLogLevel        = "log.level"
)

// ambientTokenFile is set by the platform's dispatcher for every process.
const ambientTokenFile = "BUS_EVENTS_TOKEN_FILE"
