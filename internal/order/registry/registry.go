// Package registry asks a Confluent-compatible schema registry for the schemas of orders. It keeps
// what it learned, and tells apart whose fault it is that an order cannot be read: the registry
// refuses its schema, or says nothing of use about that schema alone, or is away altogether. A
// Client is safe for concurrent use.
package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/order"
)

// The codes of what a registry can say, and of its saying nothing.
const (
	// CodeUnknownID may pass: a registry may learn of a schema a little later than we of its id.
	CodeUnknownID = "unknown_schema_id"
	// CodeRefused may pass where it is about a right, and is permanent where it is about a schema.
	CodeRefused       = "schema_refused"
	CodeIncompatible  = "schema_incompatible"
	CodeNotRegistered = "schema_not_registered"
	// CodeUnavailable is that of failure.NewUnavailable.
	CodeUnavailable = "registry_unavailable"
)

const (
	// mostRefusals bounds the memory that records with made-up ids can take.
	mostRefusals = 10_000
	// mostReferences bounds how many other schemas one schema may pull in.
	mostReferences = 100
)

// Options are the settings of a Client. All are required except Sign, FirstPause and the hooks.
type Options struct {
	URLs []string
	HTTP *http.Client
	// Sign adds what authentication needs to a request.
	Sign func(*http.Request) error
	// FirstPause is the pause before the second try to reach the registry, or to get an answer on
	// one schema; 0 is 100 ms. Each one after it is twice as long, up to MaxPause.
	FirstPause, MaxPause time.Duration
	// RememberRefusal is how long a refusal that may pass, such as an unknown id, is not asked for
	// again.
	RememberRefusal time.Duration
	// OnRequest is called before each request.
	OnRequest func()
	// OnState is called when the registry becomes unreachable, with the reason, and with nil when it
	// is back. OnSilence is called when the registry does not answer for one schema, though it does
	// for others, and with nil when it does again; not more than ten times a minute. OnUnanswered is
	// called each time that this schema was asked for. Calls do not overlap.
	OnState      func(error)
	OnSilence    func(what string, err error)
	OnUnanswered func()
}

// Client is a client with a memory.
type Client struct {
	reader *order.Schema
	opts   Options
	sr     *sr.Client

	mu        sync.RWMutex
	decoders  map[any]*order.Decoder // by schema id, a uint32, or by GUID
	ids       map[string]uint32      // by subject and schema
	refusals  map[any]*refusal       // by schema id, or by subject and schema
	questions map[any]*question      // those under way, by the same
	changed   chan struct{}          // closed, and made anew, when a question ends
	outage    *outage                // nil: the registry answers
	good      uint32                 // an id that it knows; 0: none yet
	told      budget                 // of calls of OnSilence
}

// New makes a client whose decoders resolve to the reader's schema. No request is made yet.
func New(reader *order.Schema, opts Options) (*Client, error) {
	if opts.OnState == nil {
		opts.OnState = func(error) {}
	}
	if opts.OnSilence == nil {
		opts.OnSilence = func(string, error) {}
	}
	if opts.OnUnanswered == nil {
		opts.OnUnanswered = func() {}
	}
	if opts.FirstPause == 0 {
		opts.FirstPause = 100 * time.Millisecond
	}
	srOpts := []sr.ClientOpt{
		sr.URLs(opts.URLs...), sr.HTTPClient(bounded(opts.HTTP)), sr.UserAgent("orderflow"),
		sr.PreReq(func(req *http.Request) error {
			if opts.OnRequest != nil {
				opts.OnRequest()
			}
			if opts.Sign != nil {
				return opts.Sign(req)
			}
			return nil
		}),
	}
	client, err := sr.NewClient(srOpts...)
	if err != nil {
		return nil, fmt.Errorf("making registry client: %w", err)
	}
	return &Client{
		reader: reader, opts: opts, sr: client, changed: make(chan struct{}),
		decoders: map[any]*order.Decoder{}, ids: map[string]uint32{},
		refusals: map[any]*refusal{}, questions: map[any]*question{},
	}, nil
}

// Patience is how long a caller waits.
type Patience int

const (
	// Briefly: a second at most, however many are asked for the same, or until the context's
	// deadline. The question goes on meanwhile, and its answer is there for whoever asks next.
	Briefly Patience = iota
	// ForAnswer: until the question is answered, or has failed. It does not wait for a registry that
	// is known to be away.
	ForAnswer
	// ForRegistry: also until a registry that is away is back.
	ForRegistry
	// Endlessly: also until there is an answer on the schema asked for.
	Endlessly
)

// With returns what asks with another patience than Decoder has.
func (c *Client) With(p Patience) order.Decoders { return &asker{c, p} }

type asker struct {
	client   *Client
	patience Patience
}

func (a *asker) Decoder(ctx context.Context, id uint32) (*order.Decoder, error) {
	return a.client.byID(ctx, a.patience, id)
}

func (a *asker) DecoderByGUID(ctx context.Context, guid string) (*order.Decoder, error) {
	return a.client.byGUID(ctx, a.patience, guid)
}

// Decoder returns the decoder for records that were written with the schema of this id. It waits
// while the registry cannot be reached. Its error is permanent, or may pass, or is
// failure.Unavailable, or is that of the context.
func (c *Client) Decoder(ctx context.Context, id uint32) (*order.Decoder, error) {
	return c.byID(ctx, ForRegistry, id)
}

// DecoderByGUID is Decoder for the GUID of a schema, which is the same in all registries.
func (c *Client) DecoderByGUID(ctx context.Context, guid string) (*order.Decoder, error) {
	return c.byGUID(ctx, ForRegistry, guid)
}

func (c *Client) byID(ctx context.Context, p Patience, id uint32) (*order.Decoder, error) {
	return c.decoder(ctx, p, id, "schema id", func(ctx context.Context) (sr.Schema, error) {
		return c.sr.SchemaByID(ctx, int(id))
	})
}

func (c *Client) byGUID(ctx context.Context, p Patience, guid string) (*order.Decoder, error) {
	return c.decoder(ctx, p, guid, "schema GUID", func(ctx context.Context) (sr.Schema, error) {
		s, err := c.sr.SchemaByGUID(ctx, guid)
		return s.Schema, err
	})
}

// decoder returns the decoder for a schema that is known by a key of this kind.
func (c *Client) decoder(ctx context.Context, p Patience, key any, kind string, get func(context.Context) (sr.Schema, error)) (*order.Decoder, error) {
	c.mu.RLock()
	dec, ok := c.decoders[key]
	c.mu.RUnlock()
	if ok {
		return dec, nil
	}
	what := fmt.Sprintf("%s %v", kind, key)
	return ask(ctx, c, p, key, matter[*order.Decoder]{
		what: what,
		unknown: func(what string, said error) error {
			return failure.NewTransient(CodeUnknownID, fmt.Errorf("%s is not known to the registry: %w", what, said))
		},
		refusable: true,
		fetch: func(ctx context.Context) (*order.Decoder, error) {
			s, err := get(ctx)
			if err != nil {
				return nil, err
			}
			schema, err := c.schema(ctx, what, s)
			if err != nil {
				return nil, err
			}
			dec, err := order.NewDecoder(c.reader, schema)
			if err != nil {
				return nil, refuse(CodeIncompatible, "%s: %w", what, err)
			}
			return dec, nil
		},
		recall: func() (*order.Decoder, bool) { dec, ok := c.decoders[key]; return dec, ok },
		keep: func(dec *order.Decoder) {
			c.decoders[key] = dec
			if id, ok := key.(uint32); ok {
				c.good = id
			}
		},
	})
}

// ID returns the id of the schema under the subject; with register, the schema is registered if
// it is not there yet. It waits as long as there is no answer. Its error is permanent, or that of
// the context.
func (c *Client) ID(ctx context.Context, subject string, schema *order.Schema, register bool) (uint32, error) {
	key := subject + "\x00" + schema.String()
	c.mu.RLock()
	id, ok := c.ids[key]
	c.mu.RUnlock()
	if ok {
		return id, nil
	}
	return ask(ctx, c, Endlessly, key, matter[uint32]{
		what: "subject " + subject,
		unknown: func(what string, said error) error {
			return refuse(CodeNotRegistered, "%s: %w", what, said)
		},
		fetch: func(ctx context.Context) (uint32, error) {
			wanted := sr.Schema{Schema: schema.String()}
			if register {
				id, err := c.sr.RegisterSchema(ctx, subject, wanted, -1, -1)
				return positive(id, err)
			}
			found, err := c.sr.LookupSchema(ctx, subject, wanted)
			return positive(found.ID, err)
		},
		recall: func() (uint32, bool) { id, ok := c.ids[key]; return id, ok },
		keep:   func(id uint32) { c.ids[key] = id },
	})
}

func positive(id int, err error) (uint32, error) {
	if err == nil && id <= 0 { // not a registry, or a broken one
		return 0, fmt.Errorf("%w: %d", errNoID, id)
	}
	return uint32(id), err
}

// schema parses a schema. It fetches as many of those that it refers to as it needs and there are.
func (c *Client) schema(ctx context.Context, what string, s sr.Schema) (*order.Schema, error) {
	if s.Schema == "" {
		return nil, errNoSchema
	}
	if s.Type != sr.TypeAvro {
		return nil, refuse(CodeIncompatible, "%s: is of type %s, must be AVRO", what, s.Type)
	}
	schema, err := order.ParseSchema(s.Schema)
	if err == nil || len(s.References) == 0 { // else it may need what it refers to
		return schema, incompatible(what, err)
	}
	found := references{client: c, seen: map[string]bool{}}
	if err := found.add(ctx, s.References); err != nil {
		return nil, incompatible(what, err)
	}
	schema, err = order.ParseSchema(s.Schema, found.texts...)
	if err != nil && found.missing != nil {
		if _, asked := errors.AsType[*part](found.missing); asked {
			return nil, found.missing
		}
		err = found.missing
	}
	return schema, incompatible(what, err)
}

func incompatible(what string, err error) error {
	if err == nil {
		return nil
	}
	return refuse(CodeIncompatible, "%s: %w", what, err)
}

// references are the texts of schemas that are referred to, each after its own references.
type references struct {
	client *Client
	seen   map[string]bool
	texts  []string
	// missing is why the first of those cannot be had that cannot be had. It matters only if the
	// schema cannot be parsed without it.
	missing error
}

func (r *references) add(ctx context.Context, refs []sr.SchemaReference) error {
	for _, ref := range refs {
		what := fmt.Sprintf("reference %s version %d", ref.Subject, ref.Version)
		if r.seen[what] {
			continue
		}
		if r.seen[what] = true; len(r.seen) > mostReferences {
			return fmt.Errorf("the schema refers to more than %d others", mostReferences)
		}
		s, err := r.client.sr.SchemaByVersion(ctx, ref.Subject, ref.Version)
		if err == nil && s.Schema.Schema == "" {
			err = errNoSchema
		}
		if err != nil {
			r.lack(&part{what, err})
			continue
		}
		if err := r.add(ctx, s.References); err != nil {
			return err
		}
		if _, err := order.ParseSchema(s.Schema.Schema, r.texts...); err != nil {
			r.lack(fmt.Errorf("%s: %w", what, err))
			continue
		}
		r.texts = append(r.texts, s.Schema.Schema)
	}
	return nil
}

func (r *references) lack(err error) {
	if r.missing == nil {
		r.missing = err
	}
}
