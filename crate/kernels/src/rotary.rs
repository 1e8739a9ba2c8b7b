//! Rotary position embedding (Su et al., <https://arxiv.org/abs/2104.09864>): queries and keys are turned by angles that grow with
//! a token's position, so that a score depends on how far its two tokens are apart.

use std::ops::Range;

/// The angles by which queries and keys are turned.
#[derive(Clone, Copy, Debug)]
pub struct Rotary<'a> {
    /// `[positions, head_size]`: of each position the cosines of half a head's angles, then their sines.
    pub table: &'a [f32],
}

impl Rotary<'_> {
    /// Turns the queries and keys of some heads. A component turns together with the one half a head further on, which is
    /// `rotate_half` in Hugging Face's models.
    ///
    /// # Shapes
    ///
    /// `qkv`: `[tokens, 3 * width]`: each token's queries, keys, values
    pub(crate) fn turn(
        self,
        qkv: &mut [f32],
        texts: &[Range<usize>],
        width: usize,
        head_size: usize,
    ) {
        for text in texts {
            let rows =
                qkv[text.start * 3 * width..text.end * 3 * width].chunks_exact_mut(3 * width);
            for (row, angles) in rows.zip(self.table.chunks_exact(head_size)) {
                let (cos, sin) = angles.split_at(head_size / 2);
                for head in row[..2 * width].chunks_exact_mut(head_size) {
                    let (first, second) = head.split_at_mut(head_size / 2);
                    for (((a, b), c), s) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                        (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
                    }
                }
            }
        }
    }
}
