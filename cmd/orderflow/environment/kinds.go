package environment

import (
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/orderflow/orderflow/internal/connection"
)

// kind is how the values of a variable are read. Without read, they are free text.
type kind struct {
	// read returns what a value means, or else what was expected. Blanks around it are gone.
	read   func(value string) (meaning, expected string)
	scalar bool // a boolean or a number, which a config holds without quotes
	secret bool // no error shows the value
}

var kinds = map[string]kind{
	"KAFKA_BROKERS":            {read: brokers},
	"KAFKA_TLS":                {read: boolean, scalar: true},
	"KAFKA_SASL_MECHANISM":     {read: oneOf(append([]string{connection.NoMechanism, "OAUTHBEARER", "AWS_MSK_IAM"}, connection.PasswordMechanisms...)...)},
	"KAFKA_SASL_PASSWORD":      {secret: true},
	"ORDERS_TOPIC":             {read: word},
	"PROCESSED_TOPIC":          {read: word},
	"DLQ_TOPIC":                {read: word},
	"STATE_TOPIC":              {read: word},
	"SKIP_UNREADABLE_STATE":    {read: word},
	"DLQ_DIALECT":              {read: word},
	"SCHEMA_REGISTRY_URL":      {read: word, secret: true}, // it may hold a password
	"SCHEMA_REGISTRY_PASSWORD": {secret: true},
	"FAILURE_RATE":             {read: number, scalar: true},
	"FAILURE_MODE":             {read: word},
	"FAILURE_SEED":             {read: integer, scalar: true},
	"BREAKER_RATIO":            {read: number, scalar: true},
	"COMMIT_INTERVAL":          {read: duration},
	"SESSION_TIMEOUT":          {read: duration},
	"REDRIVE_WHERE":            {read: word},
	"REDRIVE_MAP":              {read: word},
	"REDRIVE_RATE":             {read: number, scalar: true},
	"REDRIVE_LIMIT":            {read: integer, scalar: true},
	"REDRIVE_TARGET":           {read: word},
	"MAX_REDRIVES":             {read: integer, scalar: true},
	"ORDER_COUNT":              {read: integer, scalar: true},
	"ORDER_INTERVAL":           {read: interval},
	"ORDER_SEED":               {read: integer, scalar: true},
	"HTTP_ADDRESS":             {read: address},
	"LOG_LEVEL":                {read: oneOf("INFO", "DEBUG", "WARN", "ERROR", "TRACE", "OFF", "NONE", "ALL", "FATAL")},
	"TOPIC_REPLICATION":        {read: integer, scalar: true},
	"TOPIC_MIN_INSYNC":         {read: integer, scalar: true},
}

// word is text that nobody begins or ends with a blank.
func word(value string) (string, string) { return value, "" }

func oneOf(words ...string) func(string) (string, string) {
	return func(value string) (string, string) {
		if i := slices.IndexFunc(words, func(w string) bool { return strings.EqualFold(w, value) }); i >= 0 {
			return words[i], ""
		}
		return "", "expected one of " + strings.Join(words, ", ")
	}
}

func boolean(value string) (string, string) {
	switch strings.ToLower(value) {
	case "true", "t", "yes", "y", "on", "1":
		return "true", ""
	case "false", "f", "no", "n", "off", "0":
		return "false", ""
	}
	return "", "expected true or false"
}

// integer is decimal, also with a leading 0, which YAML takes for octal.
func integer(value string) (string, string) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return "", "expected a whole number"
	}
	return strconv.FormatInt(n, 10), ""
}

func number(value string) (string, string) {
	f, err := strconv.ParseFloat(value, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return "", "expected a number"
	}
	return strconv.FormatFloat(f, 'f', -1, 64), ""
}

func duration(value string) (string, string) {
	if _, err := time.ParseDuration(value); err != nil {
		return "", "expected a duration such as 500ms"
	}
	return value, ""
}

// interval is a duration, or a cron expression, which the host reads itself.
func interval(value string) (string, string) {
	if strings.HasPrefix(value, "@") || len(strings.Fields(value)) >= 5 {
		return value, ""
	}
	return duration(value)
}

func address(value string) (string, string) {
	const expected = "expected host:port"
	_, port, err := net.SplitHostPort(value)
	if err != nil || port == "" {
		return "", expected
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return "", expected + " with a port up to 65535"
	}
	return value, ""
}

func brokers(value string) (string, string) {
	all := connection.Split([]string{value})
	if len(all) == 0 {
		return "", "expected at least one host:port"
	}
	for _, b := range all {
		if connection.CheckAddress(b) != nil {
			return "", "expected host:port, or several joined by commas"
		}
	}
	return strings.Join(all, ","), ""
}
