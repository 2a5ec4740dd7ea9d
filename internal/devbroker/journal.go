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

// maxJournal bounds the file: nothing is ever taken out of it.
const maxJournal = 256 << 20

// disk is what a journal needs of its file.
type disk interface {
	io.ReadWriteSeeker
	io.Closer
	Truncate(size int64) error
	Sync() error
}

// journal is a file of changes, one JSON object a line. Its owner orders the calls.
type journal struct {
	file disk
	// size is where the last whole line ends.
	size int64
	// torn is how many bytes of an unfinished last line were left out.
	torn int64
	// broken is why nothing can be appended until the file was loaded again.
	broken error
}

// openJournal replays the changes of the file, in order, and opens it for more. A last line
// without its end was never acknowledged, and is cut off.
func openJournal(path string, replay func(change) error) (*journal, error) {
	if err := makePrivate(filepath.Dir(path)); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	j := &journal{file: file}
	err = file.Chmod(0o600) // an older version made it for all to read
	if err == nil {
		err = j.load(replay)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return j, nil
}

// load replays the changes of the file, and cuts off what follows the last whole line.
func (j *journal) load(replay func(change) error) error {
	if _, err := j.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	j.size, j.broken = 0, nil
	reader := bufio.NewReader(j.file)
	for n := 1; ; n++ {
		line, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			j.torn = int64(len(line))
			return j.cut()
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
		j.size += int64(len(line))
	}
}

// cut ends the file behind its last whole line.
func (j *journal) cut() error {
	if err := j.file.Truncate(j.size); err != nil {
		return err
	}
	_, err := j.file.Seek(j.size, io.SeekStart)
	return err
}

// append writes a change and returns when it is on the disk. After an error it is not in the file:
// the start of a line that did not fit would spoil the next one.
func (j *journal) append(c change) error {
	if j.broken != nil {
		return j.broken
	}
	line, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("writing registry journal: %w", err)
	}
	line = append(line, '\n')
	if j.size+int64(len(line)) > maxJournal {
		return fmt.Errorf("writing registry journal: it has %d of %d bytes; begin anew in another directory", j.size, maxJournal)
	}
	_, err = j.file.Write(line)
	if err == nil {
		err = j.file.Sync()
	}
	if err == nil {
		j.size += int64(len(line))
		return nil
	}
	err = fmt.Errorf("writing registry journal: %w", err)
	if cutErr := j.cut(); cutErr != nil {
		j.broken = fmt.Errorf("%w; its last line could not be taken back: %w", err, cutErr)
		return j.broken
	}
	return err
}

func (j *journal) close() error { return j.file.Close() }
