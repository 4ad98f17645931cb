"""What a resumed run takes from its checkpoint, and the part of the runner that resumes."""
