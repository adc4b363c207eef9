package backup

// settled says of a backup of which every disk is reported whether the time is over in which its SBC would have asked about one
// more.
func (s *Service) settled(id string) bool {
	j := s.jobOf(id)
	return j != nil && j.finisher.QuestionDue() <= 0
}
