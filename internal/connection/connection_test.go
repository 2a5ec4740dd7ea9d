package connection

import (
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

func parse(t *testing.T, yaml string) *service.ParsedConfig {
	t.Helper()
	pc, err := service.NewConfigSpec().Field(BrokersField()).Fields(Fields()...).ParseYAML(yaml, nil)
	require.NoError(t, err)
	return pc
}

func TestAClientIsMadeOfTheFields(t *testing.T) {
	opts, brokers, err := Options(parse(t, `
seed_brokers: ["a:1, b:2", c:3, ""]
client_id: me
tls: {enabled: true}
sasl:
  - {mechanism: none}
  - {mechanism: PLAIN, username: u, password: p}
  - {mechanism: SCRAM-SHA-256, username: u, password: p}
  - {mechanism: SCRAM-SHA-512, username: u, password: p}
  - {mechanism: OAUTHBEARER, token: t}
`))
	require.NoError(t, err)
	require.Equal(t, []string{"a:1", "b:2", "c:3"}, brokers)
	cl, err := kgo.NewClient(opts...)
	require.NoError(t, err)
	defer cl.Close()
	require.Equal(t, "me", cl.OptValue(kgo.ClientID))
	require.NotNil(t, cl.OptValue(kgo.DialTLSConfig))
	require.Len(t, cl.OptValue(kgo.SASL), 4, "none is no mechanism")
}

func TestWithoutBrokersThereIsNoConnection(t *testing.T) {
	_, _, err := Options(parse(t, `seed_brokers: [" , "]`))
	require.EqualError(t, err, "field seed_brokers: is empty")
}

func TestAnAddressThatNobodyCanDialIsNamed(t *testing.T) {
	_, _, err := Options(parse(t, `seed_brokers: ["a:1,b:kafka"]`))
	require.ErrorContains(t, err, `field seed_brokers: "b:kafka": want host:port: `)
	_, _, err = Options(parse(t, `seed_brokers: ["a:99999"]`))
	require.ErrorContains(t, err, `field seed_brokers: "a:99999": want host:port: `)
	_, brokers, err := Options(parse(t, `seed_brokers: [a, "[::1]:9092"]`))
	require.NoError(t, err)
	require.Len(t, brokers, 2)
}

func TestAnUnknownMechanismIsNotTakenForNone(t *testing.T) {
	_, _, err := Options(parse(t, `
seed_brokers: [a:1]
sasl:
  - {mechanism: scram-sha-256, username: u, password: secret}
`))
	require.EqualError(t, err, `field sasl.mechanism: "scram-sha-256" is unknown`)
}
