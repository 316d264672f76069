package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// ByteSize is a number of bytes, written "64KiB", "1.5GiB", "10MB" or as a plain number.
type ByteSize int64

type byteUnit struct {
	name  string
	bytes int64
}

// byteUnits lists the units, those that String uses first and from large to small. One letter is the
// binary unit, as in Docker and Kubernetes' "Mi": rounding a limit up is the harmless mistake.
func byteUnits() []byteUnit {
	return []byteUnit{
		{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
		{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3},
		{"Ti", 1 << 40}, {"Gi", 1 << 30}, {"Mi", 1 << 20}, {"Ki", 1 << 10},
		{"T", 1 << 40}, {"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}, {"B", 1},
	}
}

// ParseByteSize reads a size >= 0. Units are B, KB, MB, GB, TB (powers of 1000) and KiB, MiB, GiB,
// TiB (powers of 1024, also K, M, G, T); case is ignored, a space and a fraction are allowed.
func ParseByteSize(text string) (ByteSize, error) {
	number, unit := strings.TrimSpace(text), int64(1)
	for _, u := range byteUnits() {
		if n := len(number) - len(u.name); n > 0 && strings.EqualFold(number[n:], u.name) {
			number, unit = strings.TrimSpace(number[:n]), u.bytes
			break
		}
	}
	if strings.Trim(number, "0123456789.") != "" {
		return 0, errors.New("not a size")
	}
	if whole, err := strconv.ParseInt(number, 10, 64); err == nil && whole <= math.MaxInt64/unit {
		return ByteSize(whole * unit), nil
	}
	f, err := strconv.ParseFloat(number, 64)
	switch bytes := f * float64(unit); {
	case err != nil:
		return 0, errors.New("not a size")
	case bytes >= math.MaxInt64:
		return 0, errors.New("too large")
	default:
		return ByteSize(bytes), nil
	}
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (b *ByteSize) UnmarshalText(text []byte) error {
	size, err := ParseByteSize(string(text))
	if err == nil {
		*b = size
	}
	return err
}

// MarshalText implements [encoding.TextMarshaler].
func (b ByteSize) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// String writes the size in the largest unit that divides it: "64KiB", "10MB", "1000001".
// ParseByteSize reads it back.
func (b ByteSize) String() string {
	for _, u := range byteUnits()[:8] {
		if b >= ByteSize(u.bytes) && int64(b)%u.bytes == 0 {
			return strconv.FormatInt(int64(b)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}
