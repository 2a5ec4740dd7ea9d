// Package connection is what the Kafka inputs share of the host: the config fields that say how
// to reach the brokers, and the client options that they make. The flags of commands have the
// same mechanisms.
package connection

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

const (
	fieldBrokers  = "seed_brokers"
	fieldClientID = "client_id"
	fieldTLS      = "tls"
	fieldSASL     = "sasl"
)

// NoMechanism is the name of a SASL mechanism that is none.
const NoMechanism = "none"

const bearer = "OAUTHBEARER"

// PasswordMechanisms are the names of the SASL mechanisms that take a user and a password.
var PasswordMechanisms = []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}

// BrokersField is the field that names the brokers.
func BrokersField() *service.ConfigField {
	return service.NewStringListField(fieldBrokers).
		Description("Addresses of brokers to connect to first. An item may hold several, joined by commas.").
		Example([]string{"localhost:9092"})
}

// Fields are the others: client_id, tls and sasl.
func Fields() []*service.ConfigField {
	return []*service.ConfigField{
		service.NewStringField(fieldClientID).
			Description("The name under which the client appears in the broker's logs and quotas.").
			Default("orderflow").Advanced(),
		service.NewTLSToggledField(fieldTLS),
		service.NewObjectListField(fieldSASL,
			service.NewStringEnumField("mechanism", slices.Concat([]string{NoMechanism}, PasswordMechanisms, []string{bearer})...).
				Description("The SASL mechanism to use."),
			service.NewStringField("username").Description("The user name, for PLAIN and SCRAM.").Default(""),
			service.NewStringField("password").Description("The password, for PLAIN and SCRAM.").Default("").Secret(),
			service.NewStringField("token").Description("The token, for OAUTHBEARER.").Default("").Secret(),
		).Description("SASL mechanisms, tried in this order.").Optional().Advanced(),
	}
}

// Options are the client options that the fields ask for, and the brokers that they name. An
// error names its field.
func Options(pc *service.ParsedConfig) ([]kgo.Opt, []string, error) {
	items, err := pc.FieldStringList(fieldBrokers)
	if err != nil {
		return nil, nil, fmt.Errorf("field %s: %w", fieldBrokers, err)
	}
	brokers := Split(items)
	if len(brokers) == 0 {
		return nil, nil, fmt.Errorf("field %s: %w", fieldBrokers, errors.New("is empty"))
	}
	for _, b := range brokers {
		if err := CheckAddress(b); err != nil {
			return nil, nil, fmt.Errorf("field %s: %w", fieldBrokers, err)
		}
	}
	id, err := pc.FieldString(fieldClientID)
	if err != nil {
		return nil, nil, fmt.Errorf("field %s: %w", fieldClientID, err)
	}
	opts := []kgo.Opt{kgo.SeedBrokers(brokers...), kgo.ClientID(id)}
	tls, enabled, err := pc.FieldTLSToggled(fieldTLS)
	if err != nil {
		return nil, nil, fmt.Errorf("field %s: %w", fieldTLS, err)
	}
	if enabled {
		opts = append(opts, kgo.DialTLSConfig(tls))
	}
	mechanisms, err := parseSASL(pc)
	if err != nil {
		return nil, nil, err
	}
	if len(mechanisms) > 0 {
		opts = append(opts, kgo.SASL(mechanisms...))
	}
	return opts, brokers, nil
}

// CheckAddress tells whether a client can be made for a broker: a host, which may have a port.
func CheckAddress(broker string) error {
	if err := kgo.ValidateOpts(kgo.SeedBrokers(broker)); err != nil {
		return fmt.Errorf("%q: want host:port: %w", broker, err)
	}
	if _, port, err := net.SplitHostPort(broker); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return fmt.Errorf("%q: want host:port: %w", broker, err)
		}
	}
	return nil
}

// Split returns the items of a list whose items may themselves be lists, joined by commas.
func Split(items []string) []string {
	var all []string
	for _, item := range items {
		for v := range strings.SplitSeq(item, ",") {
			if v = strings.TrimSpace(v); v != "" {
				all = append(all, v)
			}
		}
	}
	return all
}

func parseSASL(pc *service.ParsedConfig) ([]sasl.Mechanism, error) {
	if !pc.Contains(fieldSASL) {
		return nil, nil
	}
	list, err := pc.FieldObjectList(fieldSASL)
	if err != nil {
		return nil, fmt.Errorf("field %s: %w", fieldSASL, err)
	}
	var mechanisms []sasl.Mechanism
	for _, o := range list {
		mechanism, err := o.FieldString("mechanism")
		if err != nil {
			return nil, fmt.Errorf("field %s.mechanism: %w", fieldSASL, err)
		}
		user, _ := o.FieldString("username")
		password, _ := o.FieldString("password")
		token, _ := o.FieldString("token")
		switch mechanism {
		case NoMechanism:
		case bearer:
			mechanisms = append(mechanisms, oauth.Oauth(func(context.Context) (oauth.Auth, error) {
				return oauth.Auth{Token: token}, nil
			}))
		default:
			m := PasswordMechanism(mechanism, user, password)
			if m == nil {
				return nil, fmt.Errorf("field %s.mechanism: %q is unknown", fieldSASL, mechanism)
			}
			mechanisms = append(mechanisms, m)
		}
	}
	return mechanisms, nil
}

// PasswordMechanism returns the SASL mechanism of this name, one of PasswordMechanisms, or nil
// if there is none.
func PasswordMechanism(name, user, password string) sasl.Mechanism {
	switch name {
	case "PLAIN":
		return plain.Auth{User: user, Pass: password}.AsMechanism()
	case "SCRAM-SHA-256":
		return scram.Auth{User: user, Pass: password}.AsSha256Mechanism()
	case "SCRAM-SHA-512":
		return scram.Auth{User: user, Pass: password}.AsSha512Mechanism()
	}
	return nil
}
