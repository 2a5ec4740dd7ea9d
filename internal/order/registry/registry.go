// Package registry asks a Confluent-compatible schema registry for the schemas of orders. It
// keeps what it learned, and it is patient: a registry that cannot be reached makes the caller
// wait, since an outage is not the order's fault. A Client is safe for concurrent use.
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

// The codes of what a registry can say that no waiting will change.
const (
	CodeUnknownID     = "unknown_schema_id"
	CodeIncompatible  = "schema_incompatible"
	CodeNotRegistered = "schema_not_registered"
	CodeRefused       = "schema_refused"
)

const (
	firstPause = 100 * time.Millisecond
	// mostRefusals bounds the memory that records with made-up ids can take.
	mostRefusals = 10_000
	// mostReferences bounds how many other schemas one schema may pull in.
	mostReferences = 100
)

// Options are the settings of a Client. All are required except Sign and the hooks.
type Options struct {
	URLs []string
	HTTP *http.Client
	// Sign adds what authentication needs to a request.
	Sign func(*http.Request) error
	// MaxPause is the longest pause between two tries to reach the registry.
	MaxPause time.Duration
	// RememberRefusal is how long a refusal, such as an unknown id, is not asked for again.
	RememberRefusal time.Duration
	// OnRequest is called before each request.
	OnRequest func()
	// OnState is called when the registry becomes unreachable, with the reason, and with nil
	// when it is back. Calls do not overlap.
	OnState func(error)
}

// Client is a patient client with a memory.
type Client struct {
	reader *order.Schema
	opts   Options
	sr     *sr.Client

	// asking is held while a request, its waits included, is under way: during an outage one
	// caller probes and the others wait for it. A channel, because waiting must end with a context.
	asking chan struct{}
	down   bool // guarded by asking

	mu       sync.RWMutex
	decoders map[uint32]*order.Decoder
	ids      map[string]uint32 // by subject and schema
	refusals map[any]refusal   // by schema id, or by subject and schema
}

type refusal struct {
	err   error
	until time.Time
}

// New makes a client whose decoders resolve to the reader's schema. No request is made yet.
func New(reader *order.Schema, opts Options) (*Client, error) {
	if opts.OnState == nil {
		opts.OnState = func(error) {}
	}
	srOpts := []sr.ClientOpt{
		sr.URLs(opts.URLs...), sr.HTTPClient(opts.HTTP), sr.UserAgent("orderflow"),
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
		reader: reader, opts: opts, sr: client, asking: make(chan struct{}, 1),
		decoders: map[uint32]*order.Decoder{}, ids: map[string]uint32{}, refusals: map[any]refusal{},
	}, nil
}

// Decoder returns the decoder for records that were written with the schema of this id. It waits
// while the registry cannot be reached. Its error is either permanent, or that of the context.
func (c *Client) Decoder(ctx context.Context, id uint32) (*order.Decoder, error) {
	return ask(ctx, c, id, c.decoders, id, func(ctx context.Context) (*order.Decoder, error) {
		schema, err := c.schema(ctx, id)
		if err != nil {
			return nil, err
		}
		dec, err := order.NewDecoder(c.reader, schema)
		if err != nil {
			return nil, refuse(CodeIncompatible, "schema id %d: %w", id, err)
		}
		return dec, nil
	})
}

// ID returns the id of the schema under the subject; with register, the schema is registered if
// it is not there yet. It waits as Decoder does.
func (c *Client) ID(ctx context.Context, subject string, schema *order.Schema, register bool) (uint32, error) {
	key := subject + "\x00" + schema.String()
	return ask(ctx, c, key, c.ids, key, func(ctx context.Context) (uint32, error) {
		wanted := sr.Schema{Schema: schema.String()}
		var id int
		var err error
		if register {
			id, err = c.sr.RegisterSchema(ctx, subject, wanted, -1, -1)
		} else {
			var found sr.SubjectSchema
			found, err = c.sr.LookupSchema(ctx, subject, wanted)
			id = found.ID
		}
		switch answer, refused := refusedBy(err); {
		case refused && notFound(answer):
			return 0, refuse(CodeNotRegistered, "subject %s: %w", subject, err)
		case refused:
			return 0, refuse(CodeRefused, "subject %s: %w", subject, err)
		case err != nil:
			return 0, err
		case id <= 0:
			return 0, fmt.Errorf("the registry answered with schema id %d", id) // not a registry, or a broken one
		}
		return uint32(id), nil
	})
}

// schema fetches a schema and all that it refers to.
func (c *Client) schema(ctx context.Context, id uint32) (*order.Schema, error) {
	s, err := c.sr.SchemaByID(ctx, int(id))
	if _, refused := refusedBy(err); refused {
		return nil, refuse(CodeUnknownID, "schema id %d is not known to the registry: %w", id, err)
	}
	if err != nil {
		return nil, err
	}
	if s.Type != sr.TypeAvro {
		return nil, refuse(CodeIncompatible, "schema id %d: is of type %s, must be AVRO", id, s.Type)
	}
	var texts []string
	if err := c.references(ctx, s.References, map[string]bool{}, &texts); err != nil {
		if _, refused := refusedBy(err); refused {
			err = refuse(CodeIncompatible, "schema id %d: %w", id, err)
		}
		return nil, err
	}
	schema, err := order.ParseSchema(s.Schema, texts...)
	if err != nil {
		return nil, refuse(CodeIncompatible, "schema id %d: %w", id, err)
	}
	return schema, nil
}

// references appends the texts of the schemas that are referred to, each after its own references.
func (c *Client) references(ctx context.Context, refs []sr.SchemaReference, seen map[string]bool, texts *[]string) error {
	for _, ref := range refs {
		key := fmt.Sprintf("%s version %d", ref.Subject, ref.Version)
		if seen[key] {
			continue
		}
		if seen[key] = true; len(seen) > mostReferences {
			return refuse(CodeIncompatible, "the schema refers to more than %d others", mostReferences)
		}
		s, err := c.sr.SchemaByVersion(ctx, ref.Subject, ref.Version)
		if err != nil {
			return fmt.Errorf("reference %s: %w", key, err)
		}
		if err := c.references(ctx, s.References, seen, texts); err != nil {
			return err
		}
		*texts = append(*texts, s.Schema.Schema)
	}
	return nil
}

// ask answers from memory, or else asks until there is an answer or the context ends.
func ask[K comparable, V any](
	ctx context.Context, c *Client, refusalKey any, known map[K]V, key K, fetch func(context.Context) (V, error),
) (V, error) {
	recall := func() (v V, ok bool, err error) {
		c.mu.RLock()
		defer c.mu.RUnlock()
		if v, ok = known[key]; ok {
			return v, true, nil
		}
		if r, refused := c.refusals[refusalKey]; refused && time.Now().Before(r.until) {
			return v, true, r.err
		}
		return v, false, nil
	}
	var zero V
	if v, ok, err := recall(); ok {
		return v, err
	}
	select {
	case c.asking <- struct{}{}:
		defer func() { <-c.asking }()
	case <-ctx.Done():
		return zero, fmt.Errorf("waiting for the schema registry: %w", ctx.Err())
	}
	// Another caller may have had the same question.
	if v, ok, err := recall(); ok {
		return v, err
	}
	for pause := firstPause; ; pause *= 2 {
		v, err := fetch(ctx)
		if _, permanent := errors.AsType[*failure.Error](err); err == nil || permanent {
			c.state(nil)
			c.mu.Lock()
			defer c.mu.Unlock()
			if err != nil {
				c.remember(refusalKey, err)
				return zero, err
			}
			known[key] = v
			return v, nil
		}
		if ctx.Err() == nil {
			c.state(err)
		}
		timer := time.NewTimer(min(pause, c.opts.MaxPause))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return zero, fmt.Errorf("waiting for the schema registry: %w", ctx.Err())
		}
		pause = min(pause, c.opts.MaxPause)
	}
}

// remember keeps a refusal. When there are too many, all are forgotten: they are cheap to learn
// again, and no order of theirs is worth the bookkeeping.
func (c *Client) remember(key any, err error) {
	if len(c.refusals) >= mostRefusals {
		clear(c.refusals)
	}
	c.refusals[key] = refusal{err: err, until: time.Now().Add(c.opts.RememberRefusal)}
}

func (c *Client) state(err error) {
	if down := err != nil; down != c.down {
		c.down = down
		c.opts.OnState(err)
	}
}

// refusedBy returns the registry's answer if it is one about the schema asked for. All else, from
// a refused connection to a wrong password or a page that is no registry's, is a matter of the
// system: it must not fail orders.
func refusedBy(err error) (*sr.ResponseError, bool) {
	answer, ok := errors.AsType[*sr.ResponseError](err)
	if !ok {
		return nil, false
	}
	switch answer.StatusCode {
	case http.StatusNotFound:
		return answer, notFound(answer)
	case http.StatusBadRequest, http.StatusConflict, http.StatusUnprocessableEntity:
		return answer, true
	default:
		return answer, false
	}
}

// notFound says whether it is the registry that does not know the schema or subject (codes 40401
// and up). A 404 without such a code comes from a wrong path or a proxy.
func notFound(answer *sr.ResponseError) bool {
	return answer.StatusCode == http.StatusNotFound && answer.ErrorCode/100 == http.StatusNotFound
}

func refuse(code, format string, args ...any) error {
	return failure.NewPermanent(code, fmt.Errorf(format, args...))
}
