// Package order knows what an order is: its fields, its rules, its Avro schema and codec, and
// when a simulated failure strikes it. It is the only package that imports the Avro library.
package order

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/shown"
)

// The names of an order's fields, in Avro and in JSON.
const (
	FieldID      = "orderId"
	FieldProduct = "product"
	FieldPrice   = "price"
)

// The codes of what can be wrong with an order.
const (
	CodeNotAnOrder       = "not_an_order"
	CodeIDMissing        = "order_id_missing"
	CodeIDInvalid        = "order_id_invalid"
	CodeProductMissing   = "product_missing"
	CodeProductInvalid   = "product_invalid"
	CodePriceMissing     = "price_missing"
	CodePriceInvalid     = "price_invalid"
	CodePriceNotFinite   = "price_not_finite"
	CodePriceNotPositive = "price_not_positive"
	CodePriceAboveMax    = "price_above_maximum"
)

// Order is one order.
type Order struct {
	ID      string  `avro:"orderId" json:"orderId"`
	Product string  `avro:"product" json:"product"`
	Price   float64 `avro:"price" json:"price"`
}

// Map returns the order as the document that a pipeline sees.
func (o Order) Map() map[string]any {
	return map[string]any{FieldID: o.ID, FieldProduct: o.Product, FieldPrice: o.Price}
}

// FromStructured reads an order out of a message's document. Fields that an order does not have
// are ignored; one that is missing or of the wrong type is a permanent error.
func FromStructured(v any) (Order, error) {
	doc, ok := v.(map[string]any)
	if !ok {
		return Order{}, permanent(CodeNotAnOrder, "the message is %s, an order is an object", kind(v))
	}
	var o Order
	var err error
	if o.ID, err = text(doc, FieldID, CodeIDMissing, CodeIDInvalid); err != nil {
		return Order{}, err
	}
	if o.Product, err = text(doc, FieldProduct, CodeProductMissing, CodeProductInvalid); err != nil {
		return Order{}, err
	}
	if o.Price, err = price(doc[FieldPrice]); err != nil {
		return Order{}, err
	}
	return o, nil
}

// Validate checks the business rules. What breaks one is a permanent error whose code names
// the rule.
func Validate(o Order, maxPrice float64) error {
	switch {
	case strings.TrimSpace(o.ID) == "":
		return permanent(CodeIDMissing, "field %s: must not be empty or blank", FieldID)
	case strings.TrimSpace(o.Product) == "":
		return permanent(CodeProductMissing, "field %s: must not be empty or blank", FieldProduct)
	case math.IsNaN(o.Price) || math.IsInf(o.Price, 0):
		return permanent(CodePriceNotFinite, "field %s: %s is no finite number", FieldPrice, shown.Float(o.Price))
	case o.Price <= 0:
		return permanent(CodePriceNotPositive, "field %s: %s is not above 0", FieldPrice, shown.Float(o.Price))
	case o.Price > maxPrice:
		return permanent(CodePriceAboveMax, "field %s: %s is above the maximum of %s", FieldPrice, shown.Float(o.Price), shown.Float(maxPrice))
	}
	return nil
}

// Clip shortens text that came from outside for use in an error, since an error ends up in a
// header of the dead letter and a value may be as large as the broker allows.
func Clip(s string) string {
	const most = 64
	if len(s) <= most {
		return shown.Quote(s)
	}
	return fmt.Sprintf("%s… (%d bytes)", shown.Quote(strings.ToValidUTF8(s[:most], "")), len(s))
}

func text(doc map[string]any, field, missing, invalid string) (string, error) {
	switch v := doc[field].(type) {
	case string:
		return v, nil
	case nil:
		return "", permanent(missing, "field %s: is missing", field)
	default:
		return "", permanent(invalid, "field %s: %s is %s, not a string", field, show(v), kind(v))
	}
}

func price(v any) (float64, error) {
	switch n := v.(type) {
	case float64:
		return n, nil
	case json.Number:
		f, err := strconv.ParseFloat(string(n), 64)
		switch {
		case errors.Is(err, strconv.ErrRange):
			return 0, permanent(CodePriceNotFinite, "field %s: %s is too large", FieldPrice, Clip(string(n)))
		case err != nil:
			return 0, permanent(CodePriceInvalid, "field %s: %s is no number", FieldPrice, Clip(string(n)))
		}
		return f, nil
	case int64:
		return float64(n), nil
	case int:
		return float64(n), nil
	case uint64:
		return float64(n), nil
	case float32:
		return float64(n), nil
	case int32:
		return float64(n), nil
	case uint32:
		return float64(n), nil
	case nil:
		return 0, permanent(CodePriceMissing, "field %s: is missing", FieldPrice)
	default:
		return 0, permanent(CodePriceInvalid, "field %s: %s is %s, not a number", FieldPrice, show(v), kind(v))
	}
}

func permanent(code, format string, args ...any) error {
	return failure.NewPermanent(code, fmt.Errorf(format, args...))
}

func show(v any) string {
	switch v := v.(type) {
	case string:
		return Clip(v)
	case []byte:
		return Clip(string(v))
	case bool, json.Number:
		return fmt.Sprint(v)
	default:
		return "the value"
	}
}

func kind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case []byte:
		return "bytes"
	case bool:
		return "a boolean"
	case map[string]any:
		return "an object"
	case []any:
		return "an array"
	case json.Number, float64, float32, int, int32, int64, uint32, uint64:
		return "a number"
	default:
		return fmt.Sprintf("a %T", v)
	}
}
