package aggregate

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strconv"

	"github.com/cockroachdb/apd/v3"
)

var (
	_ encoding.BinaryAppender    = Partial{}
	_ encoding.BinaryUnmarshaler = (*Partial)(nil)
	_ json.Marshaler             = Partial{}
)

// averagePlaces is the number of decimals of an average.
const averagePlaces = 4

// maxCount bounds the count of a record that is read, so that counts can be added freely.
const maxCount = 1_000_000_000_000_000

// Partial is the aggregate of some numbers. The zero value is that of none.
type Partial struct {
	count int64
	// The sum is micros millionths plus rest. Adding a small number touches micros only, also
	// when rest is in use; rest is replaced, never changed, so that copies stay independent.
	micros   int64
	rest     *apd.Decimal
	min, max Decimal
}

// Add counts one more number.
func (p *Partial) Add(d Decimal) {
	if p.count == 0 {
		p.min, p.max = d, d
	} else if d.Cmp(p.min) < 0 {
		p.min = d
	} else if d.Cmp(p.max) > 0 {
		p.max = d
	}
	p.count++
	p.addToSum(d)
}

// AddFloat counts one more number, given as a float.
func (p *Partial) AddFloat(f float64) error {
	d, err := FromFloat(f)
	if err != nil {
		return err
	}
	p.Add(d)
	return nil
}

// Merge adds what other has counted. Adding all numbers to one Partial gives the same.
func (p *Partial) Merge(other Partial) {
	if other.count == 0 {
		return
	}
	if p.count == 0 {
		*p = other
		return
	}
	if other.min.Cmp(p.min) < 0 {
		p.min = other.min
	}
	if other.max.Cmp(p.max) > 0 {
		p.max = other.max
	}
	p.count += other.count
	p.addToSum(Decimal{micros: other.micros})
	if other.rest != nil {
		p.addToSum(Decimal{wide: other.rest})
	}
}

func (p *Partial) addToSum(d Decimal) {
	if d.wide == nil {
		p.micros += d.micros // both are below 10^18: no overflow
		if p.micros < maxMicros && p.micros > -maxMicros {
			return
		}
		d, p.micros = Decimal{wide: apd.New(p.micros, -scale)}, 0
	}
	sum := d.wide
	if p.rest != nil {
		sum = new(apd.Decimal)
		exactly(apd.BaseContext.Add(sum, p.rest, d.wide))
	}
	p.rest = sum
}

// Count returns how many numbers there were.
func (p Partial) Count() int64 { return p.count }

// Min returns the smallest number, 0 if there was none.
func (p Partial) Min() Decimal { return p.min }

// Max returns the greatest number, 0 if there was none.
func (p Partial) Max() Decimal { return p.max }

// Sum returns the exact sum.
func (p Partial) Sum() Decimal {
	small := Decimal{micros: p.micros}
	if p.rest == nil {
		return small
	}
	sum := new(apd.Decimal)
	exactly(apd.BaseContext.Add(sum, p.rest, small.apd()))
	return fromWide(sum)
}

// Average returns the sum divided by the count, rounded half to even to 4 decimals; 0 if there
// was no number.
func (p Partial) Average() Decimal {
	if p.count == 0 {
		return Decimal{}
	}
	if p.rest != nil {
		return averageWide(p.Sum().apd(), p.count)
	}
	const unit = million / 10_000 // millionths in the last place of an average
	if p.count > maxCount {
		return averageWide(p.Sum().apd(), p.count)
	}
	by := p.count * unit
	q, r := p.micros/by, p.micros%by
	if roundsAway(2*abs(r)-by, q%2 != 0) {
		if p.micros < 0 {
			q--
		} else {
			q++
		}
	}
	return Decimal{micros: q * unit}
}

// averageWide is Average for sums and counts of any size, by integers: a quotient that was
// first rounded to some precision must not be rounded again.
func averageWide(sum *apd.Decimal, count int64) Decimal {
	by := big.NewInt(count)
	q := sum.Coeff.MathBigInt()
	if shift := int64(sum.Exponent) + averagePlaces; shift >= 0 {
		q.Mul(q, pow10(shift))
	} else {
		by.Mul(by, pow10(-shift))
	}
	r := new(big.Int)
	q.QuoRem(q, by, r)
	if roundsAway(int64(r.Lsh(r, 1).Cmp(by)), q.Bit(0) == 1) {
		q.Add(q, big.NewInt(1))
	}
	average := new(apd.Decimal)
	average.Coeff.SetMathBigInt(q)
	average.Exponent = -averagePlaces
	average.Negative = sum.Negative
	return fromWide(average)
}

// roundsAway says whether a quotient has to be rounded away from zero, by how twice its
// remainder compares to the divisor and whether it is odd.
func roundsAway(beyondHalf int64, odd bool) bool {
	return beyondHalf > 0 || beyondHalf == 0 && odd
}

func pow10(n int64) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(n), nil) }

func abs(i int64) int64 { return max(i, -i) }

// MarshalJSON writes the aggregate as people and scripts read it. Without any number, min, max
// and average are null.
func (p Partial) MarshalJSON() ([]byte, error) {
	b := append([]byte(nil), `{"count":`...)
	b = strconv.AppendInt(b, p.count, 10)
	b = append(p.Sum().Append(append(b, `,"sum":"`...)), '"')
	if p.count == 0 {
		return append(b, `,"min":null,"max":null,"average":null}`...), nil
	}
	b = append(p.min.Append(append(b, `,"min":"`...)), '"')
	b = append(p.max.Append(append(b, `,"max":"`...)), '"')
	b = append(p.Average().Append(append(b, `,"average":"`...)), '"')
	return append(b, '}'), nil
}

// A record is "1 count sum min max": the version of this form, then what is counted, in plain
// notation with one space between. Equal aggregates have equal records, and a person can read
// one with any Kafka tool.
const (
	recordVersion = "1"
	maxRecord     = 4096
)

// AppendBinary appends the aggregate as a record to keep. There is never an error.
func (p Partial) AppendBinary(b []byte) ([]byte, error) {
	b = append(append(b, recordVersion...), ' ')
	b = append(strconv.AppendInt(b, p.count, 10), ' ')
	b = append(p.Sum().Append(b), ' ')
	b = append(p.min.Append(b), ' ')
	return p.max.Append(b), nil
}

// UnmarshalBinary replaces p by what AppendBinary wrote. It refuses all else, also figures that
// no numbers can have, such as a minimum above the maximum; p is then as it was.
func (p *Partial) UnmarshalBinary(b []byte) error {
	read, err := parseRecord(b)
	if err != nil {
		return fmt.Errorf("parsing aggregate record %s: %w", clip(string(b[:min(len(b), maxText)])), err)
	}
	*p = read
	return nil
}

func parseRecord(b []byte) (Partial, error) {
	if len(b) > maxRecord {
		return Partial{}, fmt.Errorf("it has %d bytes, at most %d are possible", len(b), maxRecord)
	}
	fields := bytes.Split(b, []byte{' '})
	if string(fields[0]) != recordVersion {
		return Partial{}, fmt.Errorf("its version is unknown, known is %s", recordVersion)
	}
	if len(fields) != 5 {
		return Partial{}, fmt.Errorf("it has %d fields instead of 5", len(fields))
	}
	count, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil || count < 0 || count > maxCount {
		return Partial{}, fmt.Errorf("its count is not from 0 to %d", int64(maxCount))
	}
	var numbers [3]Decimal
	for i, limit := range []int64{sumExponent, maxExponent, maxExponent} {
		if numbers[i], err = parseWide(string(fields[2+i]), limit); err != nil {
			return Partial{}, fmt.Errorf("its %s: %w", [...]string{"sum", "min", "max"}[i], err)
		}
	}
	p := Partial{count: count, min: numbers[1], max: numbers[2]}
	p.micros, p.rest = numbers[0].micros, numbers[0].wide
	if !p.possible() {
		return Partial{}, errors.New("no numbers have that count, sum, min and max")
	}
	if again, _ := p.AppendBinary(nil); !bytes.Equal(again, b) {
		return Partial{}, errors.New("its numbers are not in plain, shortest notation")
	}
	return p, nil
}

// possible says whether some numbers can have these figures: count×min ≤ sum ≤ count×max.
func (p Partial) possible() bool {
	if p.min.Cmp(p.max) > 0 || p.count == 0 && (p.min.Cmp(Decimal{}) != 0 || p.max.Cmp(Decimal{}) != 0) {
		return false
	}
	var low, high apd.Decimal
	count, sum := apd.New(p.count, 0), p.Sum().apd()
	exactly(apd.BaseContext.Mul(&low, p.min.apd(), count))
	exactly(apd.BaseContext.Mul(&high, p.max.apd(), count))
	return low.Cmp(sum) <= 0 && sum.Cmp(&high) <= 0
}
