package backup

// settled says whether it is too late for SBC to ask about one more disk. Every disk of the backup is reported.
func (s *Service) settled(id string) bool {
	j := s.jobOf(id)
	return j != nil && j.finisher.QuestionDue() <= 0
}
