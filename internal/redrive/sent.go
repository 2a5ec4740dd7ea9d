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

// Confirm returns how often the order at a place of a topic was redriven, which claims an id and a
// number. 0 is an order that was not, or not under this id: an order that claims nothing may be at
// the place of one that was sent to a former topic of the name. A mark that names no place confirms
// a claim of any order of its topic.
func (s *Sent) Confirm(topic, place, id string, redrives int) int {
	if redrives <= 0 {
		return 0
	}
	if as, ok := s.placed[place]; ok && as.id == id {
		return as.redrives
	}
	return min(redrives, s.unplaced[identityAt{topic, id}])
}
