package oracle

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
)

const (
	overall     = ""
	groupPrefix = "/" // keeps a product without a name apart from the whole
)

// aggregate computes with fractions, which are exact without knowing a precision.
type aggregate struct {
	count         int64
	sum, min, max big.Rat
}

func (a *aggregate) add(price *big.Rat) {
	if a.count == 0 || price.Cmp(&a.min) < 0 {
		a.min.Set(price)
	}
	if a.count == 0 || price.Cmp(&a.max) > 0 {
		a.max.Set(price)
	}
	a.sum.Add(&a.sum, price)
	a.count++
}

// Aggregates has the form of `orderflow aggregates --json`.
type Aggregates struct {
	Overall Aggregate            `json:"overall"`
	Groups  map[string]Aggregate `json:"groups"`
}

// Aggregate holds exact decimals; the average is rounded half-even to 4 places.
type Aggregate struct {
	Count   int64  `json:"count"`
	Sum     string `json:"sum"`
	Min     string `json:"min"`
	Max     string `json:"max"`
	Average string `json:"average"`
}

func (o *Oracle) aggregates() Aggregates {
	all := Aggregates{Groups: map[string]Aggregate{}}
	for name, a := range o.sums {
		if name == overall {
			all.Overall = a.export()
			continue
		}
		all.Groups[strings.TrimPrefix(name, groupPrefix)] = a.export()
	}
	return all
}

func (a *aggregate) export() Aggregate {
	return Aggregate{
		Count: a.count, Sum: decimal(&a.sum), Min: decimal(&a.min), Max: decimal(&a.max),
		Average: decimal(halfEven(new(big.Rat).Quo(&a.sum, new(big.Rat).SetInt64(a.count)), 4)),
	}
}

// decimal writes a fraction that is a finite decimal, without trailing zeros.
func decimal(r *big.Rat) string {
	places, _ := r.FloatPrec()
	return r.FloatString(places)
}

// halfEven rounds to a number of decimal places.
func halfEven(r *big.Rat, places int64) *big.Rat {
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(places), nil)
	scaled := new(big.Rat).Mul(r, new(big.Rat).SetInt(scale))
	quotient, rest := new(big.Int).DivMod(scaled.Num(), scaled.Denom(), new(big.Int)) // rest >= 0
	switch rest.Lsh(rest, 1).Cmp(scaled.Denom()) {
	case 1:
		quotient.Add(quotient, big.NewInt(1))
	case 0:
		if quotient.Bit(0) == 1 {
			quotient.Add(quotient, big.NewInt(1))
		}
	}
	return new(big.Rat).SetFrac(quotient, scale)
}

// CompareJSON compares with the output of `orderflow aggregates --json`, by value: 20 and 20.0
// are the same. The error names each difference.
func (a Aggregates) CompareJSON(output []byte) error {
	var other Aggregates
	if err := json.Unmarshal(output, &other); err != nil {
		return fmt.Errorf("reading aggregates: %w", err)
	}
	differences := []error{a.Overall.compare("overall", other.Overall)}
	names := maps.Clone(a.Groups)
	if names == nil {
		names = map[string]Aggregate{}
	}
	maps.Copy(names, other.Groups)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		differences = append(differences, a.Groups[name].compare(fmt.Sprintf("group %q", name), other.Groups[name]))
	}
	return errors.Join(differences...)
}

func (a Aggregate) compare(name string, other Aggregate) error {
	if a.Count != other.Count {
		return fmt.Errorf("%s: count: broker %d, given %d", name, a.Count, other.Count)
	}
	if a.Count == 0 {
		return nil // the rest means nothing
	}
	var differences []error
	for _, field := range []struct{ name, want, got string }{
		{"sum", a.Sum, other.Sum}, {"min", a.Min, other.Min}, {"max", a.Max, other.Max}, {"average", a.Average, other.Average},
	} {
		want, _ := new(big.Rat).SetString(field.want) // our own
		got, ok := new(big.Rat).SetString(field.got)
		if !ok || want.Cmp(got) != 0 {
			differences = append(differences, fmt.Errorf("%s: %s: broker %s, given %s", name, field.name, field.want, field.got))
		}
	}
	return errors.Join(differences...)
}
