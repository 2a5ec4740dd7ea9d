package redrive

// Sent knows which orders were sent again, from the marks that were written with them. An order
// says it of itself too, in its headers, but anybody who may write orders can write those.
type Sent struct {
	placed   map[string]identity // by the place of the order
	unplaced map[identityAt]int  // by what marks say that do not name the place: how many there are
}

// identity is what an order that was sent again is known by.
type identity struct {
	id       string
	redrives int
}

type identityAt struct{ topic, id string }

// Add notes what a mark says.
func (s *Sent) Add(m Mark) {
	switch {
	case m.Action != Redriven:
	case m.SentAs != "":
		if s.placed == nil {
			s.placed = map[string]identity{}
		}
		s.placed[m.SentAs] = identity{m.ID, max(m.Redrives, 1)}
	default:
		if s.unplaced == nil {
			s.unplaced = map[identityAt]int{}
		}
		s.unplaced[identityAt{m.Target, m.ID}]++
	}
}

// Confirm returns the id of the order at a place of a topic, and how often it was redriven, as far
// as marks tell. The id and the number are what the order claims: a mark that names no place
// confirms them to any order of its topic. False is an order that was not redriven.
func (s *Sent) Confirm(topic, place, id string, redrives int) (string, int, bool) {
	if as, ok := s.placed[place]; ok {
		return as.id, as.redrives, true
	}
	if n := min(redrives, s.unplaced[identityAt{topic, id}]); n > 0 {
		return id, n, true
	}
	return "", 0, false
}
