package language

import (
	"regexp"
	"strings"
)

// word is a group of bad phrases and what to write instead.
type word struct {
	phrases string // in lower case, separated by ", "
	instead string
}

var words = []word{
	// One name for one thing.
	{"stand on, stands on, stood on, standing on", "is based on; its parent"},
	{"under way", "in progress"},
	{"is being done, are being done", "in progress"},
	{"put on other ground, on other ground", "rebased"},
	{"written anew", "merged"},
	{"link of a chain, links of a chain, link of the chain, links of the chain, link of its chain, links of its chain", "layer of a chain"},
	{"is resting, are resting, was resting, the vm rests, vm rests, rested", "cools down"},
	{"serves nothing, serve nothing, no run cares for", "orphan"},
	{"as may, as many as may", "the limit is reached"},
	{"wait for a turn, waits for a turn, waits for its turn, wait for its turn, wait for their turn, waited for its turn", "queued"},
	{"state file", "database"},

	// Riddles.
	{"nobody knows, nobody can know, nobody has known", "it is unknown; it cannot be known"},
	{"is no news, are no news, was no news", "is ignored"},
	{"has it looked, has looked, have looked, had looked, hasn't looked, is looked, was looked, not looked at", "checks; has checked"},
	{"be looked at, been looked at, be looked through, be looked into, be looked for", "be checked; be read; be searched"},
	{"look that, looks that, look whether, looks whether, looked whether, looking whether", "make sure that; check whether"},
	{"is there twice, are there twice, was there twice", "is listed twice"},
	{"is what it was, are what they were, was what it was, what it was before, stays what it was, stay what they were", "is unchanged"},
	{"what was being done", "(name it) stopped"},
	{"has heard, have heard", "received; knows"},
	{"is away, are away, was away, were away, be away, being away", "is not available; is not mounted; is down"},
	{"and is none", "and does not count"},
	{"that there is, that there are, that there is not", "that exists; that does not exist"},
	{"come along, comes along, coming along", "(name what happens)"},
	{"in nobody's way, in anybody's way, in no one's way", "blocks nothing; is not used"},
	{"bring to its end, brings to its end, brought to its end, brought to an end, brought to their end", "complete; end"},
	{"take up again, takes up again, taken up again", "take over; resume"},
	{"give way, gives way, given way", "stops; yields"},
	{"told of, tell of, tells of", "reports; lists"},
	{"said of", "reported about"},
	{"sift, sifts, sifted, sifting", "filter"},
	{"taken for, taken for good", "mistaken for; reported as"},
	{"is another one, are other ones", "is a different one; was replaced"},
	{"be spoken to", "cannot be reached"},
	{"in good order", "cleanly"},

	// Old or solemn English.
	{"whoever, whosoever", "a client; a user; anybody who"},
	{"whom", "who; which client"},
	{"be it", "whether"},
	{"anew", "again"},
	{"upon", "on"},
	{"for good", "permanently; as valid"},
	{"for ever", "always; without limit"},
	{"go on, goes on, went on, going on, gone on", "continue"},
	{"in the midst, midst", "during; in the middle of"},
	{"in mid-copy, mid-copy", "during the copy"},
	{"in the place of", "instead of"},
	{"at the most, at the least", "at most; at least"},
	{"that is to say", "that is"},
	{"as ever", "as usual"},
	{"all the same", "anyway; still"},
	{"by way of, for want of, in vain, of late", "through; without; without success; recently"},
	{"its own accord, their own accord, his own accord", "by itself"},
	{"mend, mends, mended, mending, blemish, blemishes", "repair; damage"},
	{"whilst, amongst, amidst, albeit, lest, hence, thence, whence, hither, whither, nought, naught", "(an everyday word)"},
	{"thereof, therein, therefrom, whereof, wherein, whereupon, hereby, herewith", "(an everyday word)"},
}

// spellings are regular expressions for British spellings of a single word, in lower case.
var spellings = []struct{ pattern, instead string }{
	// "cancelled" is not listed: it is the name of a state.
	{`\w*(behavi|col|fav|hon|neighb|lab|rum|vap|harb|end?eav)our\w*`, "-or-, as in behavior"},
	{`\w*(normal|organ|serial|initial|recogn|synchron|optim|minim|maxim|author|summar|util|priorit|categor|final|general|local|standard|real|custom|emphas|special|central|parallel)is(e|es|ed|ing|er|ers|ation|ations)`, "-iz-, as in normalize"},
	{`(anal|paral)ys(e|ed|ing)`, "-yz-, as in analyze"},
	{`(sub)?licences?|defences?|offences?|pretences?`, "-ense, as in license"},
	{`practis(e|es|ed|ing)`, "practice"},
	{`\w*cent(re|res|red)|(kilo|milli|centi)?metres?|fibres?`, "-er, as in center"},
	{`catalogu\w+|analogues?`, "-og, as in catalog"},
	{`programmes?`, "program"},
	{`artefacts?`, "artifact"},
	{`judgements?`, "judgment"},
	{`grey|greys|greyed`, "gray"},
	{`learnt|spelt|burnt`, "-ed, as in learned"},
	{`fulfil|fulfils|enrol|enrols|skilful`, "-ll, as in fulfill"},
	{`\w*(label|signal|travel|model|marshal|channel|tunnel|level|total)l(ed|ing|er|ers)`, "one l, as in labeled"},
}

var (
	aWord    = regexp.MustCompile(`\w(?:[\w'-]*\w)?`)
	aGap     = regexp.MustCompile(`^(?:\s|#|//)*$`) // also the end of a line and the comment sign of the next one
	spelling = func() *regexp.Regexp {
		var all []string
		for _, s := range spellings {
			all = append(all, s.pattern)
		}
		return regexp.MustCompile(`^(?:` + strings.Join(all, "|") + `)$`)
	}()
)

// phrase is a bad phrase without its first word.
type phrase struct {
	rest    []string
	instead string
}

// phrases holds all bad phrases by their first word.
var phrases = func() map[string][]phrase {
	all := map[string][]phrase{}
	for _, w := range words {
		for _, p := range strings.Split(w.phrases, ", ") {
			parts := strings.Fields(p)
			all[parts[0]] = append(all[parts[0]], phrase{parts[1:], w.instead})
		}
	}
	return all
}()

// found is one bad phrase or spelling in a text.
type found struct {
	at            int // offset
	text, instead string
}

// find lists the bad phrases and spellings in a text.
func find(text string) (list []found) {
	small := strings.ToLower(text)
	if len(small) != len(text) { // a letter whose lower case has another length: offsets would differ
		small = text
	}
	places := aWord.FindAllStringIndex(small, -1)
	done := 0 // up to here the text belongs to a phrase that was found
	for i, place := range places {
		first := small[place[0]:place[1]]
		if place[0] < done {
			continue
		}
		if instead := misspelled(first); instead != "" {
			list = append(list, found{place[0], text[place[0]:place[1]], instead})
		}
		for _, p := range phrases[first] {
			if end := p.end(small, places[i:]); end > 0 {
				list = append(list, found{place[0], strings.Join(strings.Fields(text[place[0]:end]), " "), p.instead})
				done = end
				break
			}
		}
	}
	return list
}

// end returns the offset at which the phrase ends in text, or 0 if text does not have it. places are the words of text, from the first
// word of the phrase.
func (p phrase) end(text string, places [][]int) int {
	if len(places) <= len(p.rest) {
		return 0
	}
	for i, want := range p.rest {
		before, place := places[i], places[i+1]
		if text[place[0]:place[1]] != want || !aGap.MatchString(text[before[1]:place[0]]) {
			return 0
		}
	}
	return places[len(p.rest)][1]
}

var spelled = map[string]string{} // results of misspelled

// misspelled returns how to spell a word in lower case in American English, or "" if its spelling is not a known British one.
func misspelled(word string) string {
	instead, known := spelled[word]
	if !known {
		if spelling.MatchString(word) {
			for _, s := range spellings {
				if regexp.MustCompile(`^(?:` + s.pattern + `)$`).MatchString(word) {
					instead = s.instead
				}
			}
		}
		spelled[word] = instead
	}
	return instead
}
