package devbroker

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// change is a request that changed the registry.
type change struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	Body   string `json:"body,omitempty"`
}

// journal is a file of changes, one JSON object a line. Its owner orders the calls.
type journal struct {
	file *os.File
	// torn is how many bytes of an unfinished last line were left out.
	torn int64
}

// openJournal replays the changes of the file, in order, and opens it for more. A last line
// without its end was never acknowledged, and is cut off.
func openJournal(path string, replay func(change) error) (*journal, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	j := &journal{file: file}
	if err := j.load(replay); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return j, nil
}

func (j *journal) load(replay func(change) error) error {
	var good int64
	reader := bufio.NewReader(j.file)
	for n := 1; ; n++ {
		line, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			j.torn = int64(len(line))
			break
		}
		if err != nil {
			return err
		}
		var c change
		if err := json.Unmarshal(line, &c); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if err := replay(c); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		good += int64(len(line))
	}
	if err := j.file.Truncate(good); err != nil {
		return err
	}
	_, err := j.file.Seek(good, io.SeekStart)
	return err
}

// append writes a change and returns when it is on the disk.
func (j *journal) append(c change) error {
	line, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("writing registry journal: %w", err)
	}
	if _, err := j.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("writing registry journal: %w", err)
	}
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("writing registry journal: %w", err)
	}
	return nil
}

func (j *journal) close() error { return j.file.Close() }
