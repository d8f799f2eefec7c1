//! Patterns of `like`: `*` is any text, `\*` a star (ucan-wg/delegation, "Glob Matching").

/// A pattern.
#[derive(Debug, Clone, PartialEq)]
pub struct Glob {
    source: String,
    /// What stands between the stars, without escapes: one piece more than there are stars.
    pieces: Vec<String>,
}

impl Glob {
    /// Every text is a pattern. A `\` that is not before a `*` is itself.
    pub fn new(source: String) -> Self {
        let mut pieces = vec![];
        let mut piece = String::new();
        let mut chars = source.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\\' if chars.next_if_eq(&'*').is_some() => piece.push('*'),
                '*' => pieces.push(std::mem::take(&mut piece)),
                c => piece.push(c),
            }
        }
        pieces.push(piece);
        Self { source, pieces }
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Bytes of the pattern.
    pub fn len(&self) -> usize {
        self.source.len()
    }

    /// Whether all of `text` fits. Takes time in proportion to text and pattern, however many stars there are: the first
    /// place where a piece fits leaves the most for the others, so there is no going back.
    pub fn matches(&self, text: &str) -> bool {
        let [first, middle @ .., last] = &self.pieces[..] else { return text == self.pieces[0] };
        let Some(mut left) = text.strip_prefix(&first[..]).and_then(|text| text.strip_suffix(&last[..])) else {
            return false;
        };
        for piece in middle {
            match left.find(&piece[..]) {
                Some(at) => left = &left[at + piece.len()..],
                None => return false,
            }
        }
        true
    }
}
