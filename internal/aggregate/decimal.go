// Package aggregate does exact arithmetic over streams of numbers: count, sum, minimum,
// maximum and average, for a whole stream and for groups of it. Results do not depend on the
// order of the numbers, nor on how a stream was cut into parts whose partial aggregates are
// merged later.
//
// Numbers are decimals, as money is. A binary float stands for the shortest decimal that
// reads back as that float, so 19.99 is 19.99 and not 19.989999999999998436805981327779591.
//
// Decimal and Partial are values: copies share nothing that changes. Owner is safe for
// concurrent use, Groups is not.
package aggregate

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/cockroachdb/apd/v3"

	"github.com/orderflow/orderflow/internal/shown"
)

const (
	// maxExponent bounds the numbers that are accepted: the first digit at most at 10^400, the
	// last one at least at 10^-400. Each float64 fits, and an exact sum stays below 1 KB.
	maxExponent = 400
	// sumExponent is the same bound for a sum of as many numbers as a Partial can count.
	sumExponent = maxExponent + 16
	// maxText is the longest text of a number that is looked at.
	maxText = 1024

	// A number of at most six decimals and below 10^12 is held as an int64 in millionths. The
	// limit leaves room to add two of them without an overflow.
	scale     = 6
	million   = 1_000_000
	maxMicros = 1_000_000_000_000_000_000
)

var errNotDecimal = errors.New("it is no decimal number")

// Decimal is an exact, finite decimal number. The zero value is 0. Compare with Cmp.
type Decimal struct {
	micros int64        // the value in millionths, if wide is nil
	wide   *apd.Decimal // a value that micros cannot hold; never changed once it is here
}

// FromFloat returns the shortest decimal that reads back as f. NaN and infinities are errors.
func FromFloat(f float64) (Decimal, error) {
	// Below 10^15 in millionths the decimal has at most 15 digits. No two such decimals share a
	// float64, so one that gives back f is the shortest one. Both constants and the rounded
	// product are exact, and the division rounds like a parser does. NaN fails the comparison.
	if m := math.RoundToEven(f * million); math.Abs(m) < 1e15 && m/million == f {
		return Decimal{micros: int64(m)}, nil
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return Decimal{}, fmt.Errorf("parsing number %v: it is not finite", f)
	}
	return FromString(strconv.FormatFloat(f, 'g', -1, 64))
}

// FromInt returns i as a decimal.
func FromInt(i int64) Decimal {
	if i < maxMicros/million && i > -maxMicros/million {
		return Decimal{micros: i * million}
	}
	return fromWide(apd.New(i, 0))
}

// FromString reads a decimal number such as "19.99" or "1e3".
func FromString(s string) (Decimal, error) {
	if micros, ok := parsePlain(s); ok {
		return Decimal{micros: micros}, nil
	}
	d, err := parseWide(s, maxExponent)
	if err != nil {
		return Decimal{}, fmt.Errorf("parsing number %s: %w", clip(s), err)
	}
	return d, nil
}

// Parse reads a value as it is found in a decoded message: any of Go's number types, a
// json.Number, or a string with a decimal number.
func Parse(v any) (Decimal, error) {
	switch n := v.(type) {
	case float64:
		return FromFloat(n)
	case json.Number:
		return FromString(string(n))
	case string:
		return FromString(n)
	case int64:
		return FromInt(n), nil
	case int:
		return FromInt(int64(n)), nil
	case int32:
		return FromInt(int64(n)), nil
	case uint32:
		return FromInt(int64(n)), nil
	case uint64:
		return FromString(strconv.FormatUint(n, 10))
	case float32:
		return FromString(strconv.FormatFloat(float64(n), 'g', -1, 32))
	case nil:
		return Decimal{}, errors.New("parsing number: there is no value")
	default:
		return Decimal{}, fmt.Errorf("parsing number: a value of type %T is none", v)
	}
}

// parsePlain reads [-]digits[.digits] where the result fits in millionths.
func parsePlain(s string) (int64, bool) {
	negative := len(s) > 0 && s[0] == '-'
	if negative {
		s = s[1:]
	}
	var micros int64
	whole, decimals := 0, -1 // decimals: -1 before the point
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.' && decimals < 0 && whole > 0:
			decimals = 0
		case c < '0' || c > '9':
			return 0, false
		case decimals >= 0:
			decimals++
			micros = micros*10 + int64(c-'0')
		default:
			whole++
			micros = micros*10 + int64(c-'0')
		}
		if whole > 12 || decimals > scale {
			return 0, false
		}
	}
	if whole == 0 || decimals == 0 {
		return 0, false
	}
	for i := max(decimals, 0); i < scale; i++ {
		micros *= 10
	}
	if negative {
		micros = -micros
	}
	return micros, true
}

func parseWide(s string, limit int64) (Decimal, error) {
	if len(s) > maxText {
		return Decimal{}, fmt.Errorf("it is longer than %d characters", maxText)
	}
	d, _, err := apd.NewFromString(s)
	switch {
	case err != nil:
		// apd refuses exponents beyond its own limit, and does not say that it was for that.
		if f, err := strconv.ParseFloat(s, 64); errors.Is(err, strconv.ErrRange) || err == nil && f == 0 {
			return Decimal{}, fmt.Errorf("its exponent is out of range, allowed is 10^%d to 10^-%d", limit, maxExponent)
		}
		return Decimal{}, errNotDecimal
	case d.Form != apd.Finite:
		return Decimal{}, errors.New("it is not finite")
	case d.Coeff.Sign() == 0:
		return Decimal{}, nil
	}
	d.Reduce(d)
	if first := int64(d.Exponent) + d.NumDigits() - 1; first > limit || int64(d.Exponent) < -maxExponent {
		return Decimal{}, fmt.Errorf("its digits reach from 10^%d to 10^%d, allowed is 10^%d to 10^-%d",
			first, d.Exponent, limit, maxExponent)
	}
	return fromWide(d), nil
}

// fromWide returns d, which it takes over, in the one form that a value has.
func fromWide(d *apd.Decimal) Decimal {
	if d.Coeff.Sign() == 0 {
		return Decimal{}
	}
	d.Reduce(d)
	if d.Exponent < -scale || int64(d.Exponent)+d.NumDigits() > 12 {
		return Decimal{wide: d}
	}
	micros := d.Coeff.Int64()
	for i := d.Exponent; i > -scale; i-- {
		micros *= 10
	}
	if d.Negative {
		micros = -micros
	}
	return Decimal{micros: micros}
}

// apd returns the value for calculations that micros cannot hold.
func (d Decimal) apd() *apd.Decimal {
	if d.wide != nil {
		return d.wide
	}
	return apd.New(d.micros, -scale)
}

// Cmp returns -1, 0 or 1 as d is less than, equal to or greater than other.
func (d Decimal) Cmp(other Decimal) int {
	if d.wide == nil && other.wide == nil {
		switch {
		case d.micros < other.micros:
			return -1
		case d.micros > other.micros:
			return 1
		}
		return 0
	}
	return d.apd().Cmp(other.apd())
}

// Append appends the number in plain notation, without an exponent and without trailing
// zeros.
func (d Decimal) Append(b []byte) []byte {
	if d.wide != nil {
		return d.wide.Append(b, 'f')
	}
	u := uint64(d.micros)
	if d.micros < 0 {
		b, u = append(b, '-'), -u
	}
	b = strconv.AppendUint(b, u/million, 10)
	rest := u % million
	if rest == 0 {
		return b
	}
	b = append(b, '.')
	for unit := uint64(million / 10); rest > 0; unit /= 10 {
		b = append(b, byte('0'+rest/unit))
		rest %= unit
	}
	return b
}

func (d Decimal) String() string {
	var b [32]byte
	return string(d.Append(b[:0]))
}

// Float64 returns the nearest float64, for gauges and charts. What is beyond its range is
// infinite.
func (d Decimal) Float64() float64 {
	f, _ := strconv.ParseFloat(d.String(), 64)
	return f
}

// exactly panics on what cannot be: with no limit on precision, adding and multiplying numbers
// within our exponents has no condition to report.
func exactly(_ apd.Condition, err error) {
	if err != nil {
		panic(fmt.Sprintf("exact arithmetic within bounds: %v", err))
	}
}

// clip quotes a value for an error text, cut to a length that suits one.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return shown.Quote(s)
	}
	return shown.Quote(s[:most]) + "…"
}
