// Package adapter is what order_encode and order_decode share of the host: the config fields for
// the schema and the registry, and the registry's metrics and log lines.
package adapter

import (
	"fmt"
	"io/fs"
	"net/http"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/internal/order/registry"
	"github.com/orderflow/orderflow/internal/shown"
)

const (
	fieldSchemaPath = "schema_path"
	fieldRegistry   = "registry"
	fieldURL        = "url"
	fieldTimeout    = "timeout"
	fieldMaxPause   = "max_pause"
	fieldRemember   = "remember_refusal"
	fieldTLS        = "tls"
)

// SchemaField is the field that names the schema file.
func SchemaField() *service.ConfigField {
	return service.NewStringField(fieldSchemaPath).
		Description("The file that holds the Avro schema of an order: a record with the fields `orderId` (string), `product` (string) and `price` (double). Empty means the schema that is built in.").
		ShortDescription("The Avro schema file of an order; empty is the built-in one.").
		Default("").
		Example("config/schemas/order.avsc")
}

// RegistryField is the object that says how to reach a schema registry.
func RegistryField() *service.ConfigField {
	fields := []*service.ConfigField{
		service.NewStringField(fieldURL).
			Description("The address of a schema registry with the Confluent API, or several of the same registry, joined by commas. It can hold a user and a password. Empty means that there is none.").
			Default("").
			Secret(). // it may hold a password, which `echo` would print
			Example("http://localhost:8081"),
		service.NewDurationField(fieldTimeout).
			Description("How long one request may take.").
			Default("5s").Advanced(),
		service.NewDurationField(fieldMaxPause).
			Description("The longest pause between two tries while the registry cannot be reached, or does not answer for a schema. The first pause is 100 ms, each one after it twice as long.").
			Default("10s").Advanced(),
		service.NewDurationField(fieldRemember).
			Description("How long a refusal of the registry that may pass, such as an unknown schema id, is remembered before it is asked again. Keep it shorter than the first retry, so that a schema that comes late is found by it. Schemas that are known are kept for ever, what can never be read for 10 s.").
			Default("500ms").Advanced(),
		service.NewTLSToggledField(fieldTLS),
	}
	fields = append(fields, service.NewHTTPRequestAuthSignerFields()...)
	return service.NewObjectField(fieldRegistry, fields...).
		Description("The schema registry. `basic_auth` with an empty `username` is no login. While it cannot be reached (no connection, no answer in time, a status of 5xx or 429, but also a refused login), messages wait; they do not fail. Whether such an answer is about one schema alone is found out by another question, for a schema that it gave before or for the list of subjects.")
}

// Schema reads the schema that the config names.
func Schema(conf *service.ParsedConfig, mgr *service.Resources) (*order.Schema, error) {
	path, err := conf.FieldString(fieldSchemaPath)
	if err != nil {
		return nil, err
	}
	text := schemas.Order
	if path != "" {
		data, err := fs.ReadFile(mgr.FS(), path)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", fieldSchemaPath, err) // names the file
		}
		text = string(data)
	}
	s, err := order.ParseSchema(text)
	if err != nil {
		return nil, fmt.Errorf("field %s: %q: %w", fieldSchemaPath, path, err)
	}
	return s, nil
}

// Registry makes the client that the config describes, or none if it has no address. The names of
// its metrics begin with prefix.
func Registry(conf *service.ParsedConfig, mgr *service.Resources, reader *order.Schema, prefix string) (*registry.Client, error) {
	conf = conf.Namespace(fieldRegistry)
	var access registry.Access
	var err error
	access.URL, err = conf.FieldString(fieldURL)
	if err != nil {
		return nil, err
	}
	if access.Timeout, err = positive(conf, fieldTimeout); err != nil {
		return nil, err
	}
	maxPause, err := positive(conf, fieldMaxPause)
	if err != nil {
		return nil, err
	}
	remember, err := positive(conf, fieldRemember)
	if err != nil {
		return nil, err
	}
	if !access.Enabled() {
		return nil, nil
	}
	if access.TLS, _, err = conf.FieldTLSToggled(fieldTLS); err != nil {
		return nil, fmt.Errorf("field %s.%s: %w", fieldRegistry, fieldTLS, err)
	}
	opts, err := access.Options()
	if err != nil {
		return nil, fmt.Errorf("field %s.%s: %w", fieldRegistry, fieldURL, err)
	}
	opts.MaxPause, opts.RememberRefusal = maxPause, remember
	sign, err := conf.HTTPRequestAuthSignerFromParsed()
	if err != nil {
		return nil, fmt.Errorf("field %s: %w", fieldRegistry, err)
	}
	loginOfURL := opts.Sign
	opts.Sign = func(req *http.Request) error {
		if err := sign(mgr.FS(), req); err != nil {
			return err
		}
		if user, password, ok := req.BasicAuth(); ok && user == "" && password == "" {
			req.Header.Del("Authorization") // basic_auth with an empty username is none
		}
		return loginOfURL(req)
	}

	requests := mgr.Metrics().NewCounter(prefix + "_registry_requests_total")
	unreachable := mgr.Metrics().NewGauge(prefix + "_registry_unreachable")
	unreachable.Set(0)
	unanswered := mgr.Metrics().NewCounter(prefix + "_registry_unanswered_total")
	opts.OnRequest = func() { requests.Incr(1) }
	opts.OnUnanswered = func() { unanswered.Incr(1) }
	opts.OnSilence = func(what string, err error) {
		if err != nil {
			mgr.Logger().Warnf("Schema registry %s does not answer for %s: its orders wait, others go on: %v", access, what, shown.Err(err))
			return
		}
		mgr.Logger().Infof("Schema registry %s answers for %s again", access, what)
	}
	opts.OnState = func(err error) {
		if err != nil {
			unreachable.Set(1)
			mgr.Logger().Warnf("Schema registry %s cannot be reached, messages wait: %v", access, shown.Err(err))
			return
		}
		unreachable.Set(0)
		mgr.Logger().Infof("Schema registry %s is back", access)
	}
	return registry.New(reader, opts)
}

func positive(conf *service.ParsedConfig, field string) (time.Duration, error) {
	d, err := conf.FieldDuration(field)
	if err != nil {
		return 0, fmt.Errorf("field %s.%s: %w", fieldRegistry, field, err)
	}
	if d <= 0 {
		return 0, fmt.Errorf("field %s.%s: %v is not allowed, must be above 0, such as 5s", fieldRegistry, field, d)
	}
	return d, nil
}
