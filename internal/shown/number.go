package shown

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

const (
	// mostWhole is how many digits may stand before the point, mostZeros how many zeros behind it
	// before the first other digit: beyond 10^15 and below 10^-6 people write an exponent.
	mostWhole = 15
	mostZeros = 5
	// mostDigits is how many digits a number has; what has more is rounded.
	mostDigits = 21
	// precision is that of rounding, in bits: more than enough for mostDigits.
	precision = 256
)

// Number returns a number as people write it: its digits where they can be read, an exponent where
// they could not, and never more than mostDigits of them. A decimal is in plain notation, as
// aggregate.Decimal and big numbers give it.
func Number(decimal fmt.Stringer) string { return number(decimal.String()) }

// Float is Number of a float, by the shortest decimal that reads back as that float.
func Float(f float64) string {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return fmt.Sprint(f)
	}
	return number(strconv.FormatFloat(f, 'f', -1, 64))
}

func number(plain string) string {
	whole, fraction, _ := strings.Cut(strings.TrimPrefix(plain, "-"), ".")
	whole = strings.TrimLeft(whole, "0")
	digits := strings.TrimLeft(fraction, "0")
	zeros := len(fraction) - len(digits)
	if whole != "" {
		digits = whole + fraction
	}
	readable := len(whole) <= mostWhole && (whole != "" || digits == "" || zeros <= mostZeros)
	if readable && len(digits) <= mostDigits {
		return plain
	}
	f, _, err := big.ParseFloat(plain, 10, precision, big.ToNearestEven)
	if err != nil {
		return plain
	}
	if readable {
		places := mostDigits - len(whole)
		return strings.TrimSuffix(strings.TrimRight(f.Text('f', places), "0"), ".")
	}
	mantissa, exponent, _ := strings.Cut(f.Text('e', mostDigits-1), "e")
	if strings.Contains(mantissa, ".") {
		mantissa = strings.TrimSuffix(strings.TrimRight(mantissa, "0"), ".")
	}
	sign, size := exponent[:1], strings.TrimLeft(exponent[1:], "0")
	return mantissa + "e" + strings.TrimPrefix(sign, "+") + size
}
