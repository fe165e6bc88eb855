package containers

import (
	"os"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/stretchr/testify/require"
)

// The dashboard is what Grafana's schema asks for, to the last member. What its
// queries yield is tested in tests/e2e.
func TestDashboardIsWhatGrafanaTakes(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	text, err := os.ReadFile("../../deploy/grafana/dashboard.json")
	require.NoError(t, err)
	var parsed dashboard.Dashboard
	require.Empty(t, parsed.UnmarshalJSONStrict(text)) // a list of errors, never nil as an interface
	require.NoError(t, parsed.Validate())
	require.Greater(t, len(parsed.Panels), 40, "panels were read")
}
