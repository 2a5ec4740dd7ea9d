package registry_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/orderflow/orderflow/internal/order/registry"
)

func TestWhereARegistryIsAndWhoLogsIn(t *testing.T) {
	type request struct{ url, user, password string }
	tests := map[string]struct {
		access registry.Access
		want   []request
		named  string
	}{
		"none":              {registry.Access{URL: " , "}, nil, ""},
		"without a login":   {registry.Access{URL: "http://a:8081/path"}, []request{{"http://a:8081/path", "", ""}}, "http://a:8081/path"},
		"a login":           {registry.Access{URL: "https://a", User: `CORP\u`, Password: " p\t"}, []request{{"https://a", `CORP\u`, " p\t"}}, "https://a"},
		"a user alone":      {registry.Access{URL: "https://a", User: "key"}, []request{{"https://a", "key", ""}}, "https://a"},
		"in the address":    {registry.Access{URL: "https://u:p%40%22@a:1", User: "x", Password: "y"}, []request{{"https://a:1", "u", `p@"`}}, "https://a:1"},
		"a comma in it":     {registry.Access{URL: "https://u:p,q,r@a:1, http://b "}, []request{{"https://a:1", "u", "p,q,r"}, {"http://b", "", ""}}, "https://a:1,http://b"},
		"of one of them":    {registry.Access{URL: "http://a,http://u:p@b,", User: "x", Password: "y"}, []request{{"http://a", "x", "y"}, {"http://b", "u", "p"}}, "http://a,http://b"},
		"user, no password": {registry.Access{URL: "http://u@a"}, []request{{"http://a", "u", ""}}, "http://a"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			opts, err := test.access.Options()
			require.NoError(t, err)
			require.Equal(t, len(test.want) > 0, test.access.Enabled())
			require.Equal(t, test.named, test.access.String())
			var got []request
			for _, url := range opts.URLs {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
				require.NoError(t, err)
				require.NoError(t, opts.Sign(req))
				user, password, _ := req.BasicAuth()
				got = append(got, request{url, user, password})
			}
			require.Equal(t, test.want, got)
		})
	}
}

func TestAnAddressThatCannotBeIsNamedWithoutItsPassword(t *testing.T) {
	for address, want := range map[string]string{
		"localhost:8081":            `"localhost:8081" is not allowed, must be like http://host:8081 or https://host`,
		"ftp://a":                   `"ftp://a" is not allowed, must be like http://host:8081 or https://host`,
		"http://u:sec/ret@a":        `"http://a" is not allowed, must be like https://user:password@host, with the signs of both percent-encoded`,
		"http://u:sec#ret@a":        `"http://a" is not allowed, must be like https://user:password@host, with the signs of both percent-encoded`,
		"http://u:sec%ret@a":        `"http://a" is not allowed, must be like https://user:password@host, with the signs of both percent-encoded`,
		"u:secret@a:8081":           `"a:8081" is not allowed, must be like https://user:password@host, with the signs of both percent-encoded`,
		"http://b,ftp://u:secret@a": `"ftp://a" is not allowed, must be like https://user:password@host, with the signs of both percent-encoded`,
	} {
		_, err := registry.Access{URL: address}.Options()
		require.EqualError(t, err, want)
		require.NotContains(t, registry.Access{URL: address}.String(), "sec")
	}
	require.Equal(t, "http://a:1,https://b,http://u:p@c", registry.Complete("a:1, https://b,http://u:p@c,"))
}

func TestNoAddressShowsItsPassword(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		password := "Q" + rapid.StringMatching(`[a-z ,:/?#%&"'\\]{0,8}`).Draw(t, "password") + "Q"
		access := registry.Access{URL: rapid.SampledFrom([]string{"http://", "https://", "", "ftp://"}).Draw(t, "scheme") + "u:" + password + "@a:8081"}
		require.NotContains(t, access.String(), "Q")
		opts, err := access.Options()
		if err != nil {
			require.NotContains(t, err.Error(), "Q")
		}
		for _, url := range opts.URLs {
			require.NotContains(t, url, "Q")
		}
	})
}
