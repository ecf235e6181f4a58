"""Lists of segments in the files of other programs: Praat, ELAN, diarizers, tables, subtitles."""
