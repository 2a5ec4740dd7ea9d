package environment

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatAValueMeans(t *testing.T) {
	tests := map[string]struct{ name, value, want string }{
		"blanks and a comma around brokers":    {"KAFKA_BROKERS", " a:1 , [::1]:9092\t, ", "a:1,[::1]:9092"},
		"a broker without a port":              {"KAFKA_BROKERS", "a", "a"},
		"an address of all networks":           {"HTTP_ADDRESS", "[::]:4196", "[::]:4196"},
		"an address without a host":            {"HTTP_ADDRESS", " :4196\r", ":4196"},
		"a byte order mark":                    {"HTTP_ADDRESS", "\ufeff127.0.0.1:4196", "127.0.0.1:4196"},
		"yes":                                  {"KAFKA_TLS", "yes", "true"},
		"on":                                   {"KAFKA_TLS", "ON ", "true"},
		"off":                                  {"KAFKA_TLS", "off", "false"},
		"0":                                    {"KAFKA_TLS", "0", "false"},
		"a decimal number with a leading zero": {"ORDER_COUNT", "010", "10"},
		"a number with a sign":                 {"FAILURE_SEED", " +7 ", "7"},
		"a number with an exponent":            {"FAILURE_RATE", "1.5e-1", "0.15"},
		"a duration":                           {"COMMIT_INTERVAL", " 250ms\n", "250ms"},
		"a cron expression":                    {"ORDER_INTERVAL", "@every 5s", "@every 5s"},
		"a level":                              {"LOG_LEVEL", "debug", "DEBUG"},
		"a mechanism":                          {"KAFKA_SASL_MECHANISM", "scram-sha-256", "SCRAM-SHA-256"},
		"a topic":                              {"ORDERS_TOPIC", "a #b ", "a #b"},
		"blanks only":                          {"KAFKA_BROKERS", " \t", ""},
		"nothing":                              {"KAFKA_TLS", "", ""},

		"a password":               {"KAFKA_SASL_PASSWORD", "\t a\"b\\n' #c: \n", "\t a\"b\\n' #c: \n"},
		"a password of blanks":     {"SCHEMA_REGISTRY_PASSWORD", "  ", "  "},
		"a user of a domain":       {"KAFKA_SASL_USER", `CORP\svc "x"`, `CORP\svc "x"`},
		"a path of Windows":        {"KAFKA_TLS_CA", `C:\new\table.pem`, `C:\new\table.pem`},
		"a tilde":                  {"CONSUMER_GROUP", "~", "~"},
		"a variable of the user's": {"HOME_TOWN", " yes ", " yes "},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Value(test.name, test.value)
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
}

func TestAValueThatCannotBeIsNamed(t *testing.T) {
	tests := map[string]struct{ name, value, says string }{
		"a boolean":                   {"KAFKA_TLS", "maybe", `variable KAFKA_TLS: "maybe", expected true or false`},
		"a duration":                  {"SESSION_TIMEOUT", "10", `variable SESSION_TIMEOUT: "10", expected a duration such as 500ms`},
		"an interval":                 {"ORDER_INTERVAL", "soon", `variable ORDER_INTERVAL: "soon", expected a duration such as 500ms`},
		"a port that is too large":    {"HTTP_ADDRESS", "127.0.0.1:99999", `variable HTTP_ADDRESS: "127.0.0.1:99999", expected host:port with a port up to 65535`},
		"an address without a port":   {"HTTP_ADDRESS", "127.0.0.1", `variable HTTP_ADDRESS: "127.0.0.1", expected host:port`},
		"an address of IPv6":          {"HTTP_ADDRESS", "::1:4196", `variable HTTP_ADDRESS: "::1:4196", expected host:port`},
		"a broker's port":             {"KAFKA_BROKERS", "a:1,b:99999", `variable KAFKA_BROKERS: "a:1,b:99999", expected host:port`},
		"no broker":                   {"KAFKA_BROKERS", " , ", `variable KAFKA_BROKERS: ",", expected at least one host:port`},
		"a whole number":              {"ORDER_COUNT", "1e3", `variable ORDER_COUNT: "1e3", expected a whole number`},
		"a number":                    {"FAILURE_RATE", "NaN", `variable FAILURE_RATE: "NaN", expected a number`},
		"a level":                     {"LOG_LEVEL", "loud", `variable LOG_LEVEL: "loud", expected one of INFO, DEBUG, `},
		"a mechanism":                 {"KAFKA_SASL_MECHANISM", "GSSAPI", `variable KAFKA_SASL_MECHANISM: "GSSAPI", expected one of none, `},
		"text that is not UTF-8":      {"CONSUMER_GROUP", "\xe9", `variable CONSUMER_GROUP: "\xe9", expected UTF-8`},
		"a password that is not":      {"KAFKA_SASL_PASSWORD", "secret\xe9", `variable KAFKA_SASL_PASSWORD: expected UTF-8`},
		"an address with a password":  {"SCHEMA_REGISTRY_URL", "http://u:secret\xe9@h", `variable SCHEMA_REGISTRY_URL: expected UTF-8`},
		"a password of the registry":  {"SCHEMA_REGISTRY_PASSWORD", "secret\xe9", `variable SCHEMA_REGISTRY_PASSWORD: expected UTF-8`},
		"a value with a line's break": {"MAX_REDRIVES", "1\n2", `variable MAX_REDRIVES: "1\n2", expected a whole number`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Value(test.name, test.value)
			require.ErrorContains(t, err, test.says)
			require.NotContains(t, err.Error(), "secret")
		})
	}
}

func TestVariablesAreCleanedForWhoReadsThemNext(t *testing.T) {
	t.Setenv("KAFKA_TLS", " Yes ")
	t.Setenv("DLQ_TOPIC", " ")
	t.Setenv("KAFKA_BROKERS", "")
	require.NoError(t, os.Unsetenv("KAFKA_BROKERS"))
	t.Setenv("\ufeffKAFKA_BROKERS", "a:1, ") // the first line of a file with a byte order mark
	require.NoError(t, Clean("KAFKA_TLS", "DLQ_TOPIC", "KAFKA_BROKERS", "NOT_THERE"))
	require.Equal(t, "true", os.Getenv("KAFKA_TLS"))
	require.Equal(t, "a:1", os.Getenv("KAFKA_BROKERS"))
	_, set := os.LookupEnv("DLQ_TOPIC")
	require.False(t, set, "empty is as not set")

	t.Setenv("KAFKA_TLS", "maybe")
	require.EqualError(t, Clean("KAFKA_TLS"), `variable KAFKA_TLS: "maybe", expected true or false`)
}

// What is not in double quotes is put in as it is: configs of users lean on that.
func TestOnlyWhatIsInDoubleQuotesIsEscaped(t *testing.T) {
	values := map[string]string{
		"KAFKA_SASL_USER": `CORP\svc`, "KAFKA_BROKERS": `["a:1", "b:1"]`, "KAFKA_TLS": "on", "ORDER_COUNT": "nonsense", "CONSUMER_GROUP": `"`,
		"HTTP_ADDRESS": "127.0.0.1:99999",
	}
	lookup := func(name string) (string, bool) { v, ok := values[name]; return v, ok }
	find, err := InYAML(lookup, []byte(`
# ${ORDER_COUNT} in a comment
user: ${KAFKA_SASL_USER:} # plain
brokers: ${KAFKA_BROKERS}
tls: ${KAFKA_TLS:false}
mixed: ["${CONSUMER_GROUP}", '${CONSUMER_GROUP}']
`), []byte("a: '${HTTP_ADDRESS}'"))
	require.NoError(t, err)
	for name, want := range map[string]string{"KAFKA_SASL_USER": `CORP\svc`, "KAFKA_BROKERS": `["a:1", "b:1"]`, "KAFKA_TLS": "true", "CONSUMER_GROUP": `"`} {
		got, ok := find(name)
		require.True(t, ok)
		require.Equal(t, want, got, name)
	}
	_, ok := find("NOT_THERE")
	require.False(t, ok)

	find, err = InYAML(lookup, []byte(`user: "${KAFKA_SASL_USER:}"`))
	require.NoError(t, err)
	got, _ := find("KAFKA_SASL_USER")
	require.Equal(t, `CORP\\svc`, got)

	_, err = InYAML(lookup, []byte(`count: ${ORDER_COUNT:1}`))
	require.EqualError(t, err, `variable ORDER_COUNT: "nonsense", expected a whole number`)
	_, err = InYAML(lookup, []byte(`address: "${HTTP_ADDRESS:}"`))
	require.ErrorContains(t, err, `variable HTTP_ADDRESS: "127.0.0.1:99999"`)
	_, err = InYAML(lookup, []byte(`no YAML: [${ORDER_COUNT`))
	require.NoError(t, err, "the host says what is wrong with it")
}
