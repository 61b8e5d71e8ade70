"""The tools of one attempt, as its engine calls them: approved, journaled, told."""
