use super::*;

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

#[test]
fn every_offset_of_every_geometry_is_told_right() {
    for (size, align, frames) in [(1, 1, 1), (8, 8, 1), (24, 8, 1), (192, 64, 2), (6784, 64, 8), (100, 4, 3)]
    {
        let this = Geometry::with_frames(layout(size, align), PageSize::SIZE_4K, frames).unwrap();
        for offset in 0..this.slab_bytes + 9 {
            let expected = (offset % this.stride == 0 && offset / this.stride < this.count)
                .then_some(offset / this.stride);
            assert_eq!(this.index_of(offset), expected, "{size} {offset}");
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "no unsafe code, and too long")]
fn every_size_gives_a_sound_geometry_or_an_error() {
    for frame in [6, 10, 12, 14, 16] {
        let frame = PageSize::from_log2(frame).unwrap();
        for size in (0..3000).chain([4096, 6784, 8192, 65536, 70_000, 1 << 20, 1 << 22]) {
            for align in [1, 2, 8, 16, 64, 256, 4096] {
                for frames in [1, 2, 3, 7, 8, 64] {
                    let Ok(this) = Geometry::with_frames(layout(size, align), frame, frames) else {
                        continue;
                    };
                    assert!(this.count >= 1 && this.count <= MAX_OBJECTS && this.stride >= size);
                    assert_eq!(this.stride % align, 0);
                    let last = this.colour(this.colours - 1) as usize;
                    assert!(last + this.count * this.stride <= this.header, "{this:?}");
                    assert_eq!(last % align, 0);
                    assert!(this.header % size_of::<usize>() == 0);
                    assert!(this.header + header_bytes(this.count) <= this.slab_bytes, "{this:?}");
                    // One more would not fit, or a word could not say where the free ones are.
                    let more = this.count + 1;
                    assert!(
                        more > MAX_OBJECTS || more * this.stride + header_bytes(more) > this.slab_bytes,
                        "{this:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_cannot_work_is_refused() {
    let frame = PageSize::SIZE_4K;
    assert_eq!(Geometry::with_frames(layout(8, 8), frame, 0), Err(GeometryError::Slab));
    assert_eq!(Geometry::with_frames(layout(8, 8), frame, 1 << 13), Err(GeometryError::Slab));
    assert_eq!(Geometry::with_frames(layout(4096, 8), frame, 1), Err(GeometryError::TooSmall));
    assert_eq!(Geometry::with_frames(layout(8, 8192), frame, 1), Err(GeometryError::Alignment));
    assert_eq!(Geometry::with_frames(layout(1 << 20, 8), frame, 1 << 12), Err(GeometryError::TooLarge));
    assert_eq!(Geometry::new(layout(1 << 20, 8), frame), Err(GeometryError::TooSmall));
    assert!(Geometry::new(layout(0, 1), frame).is_ok());
}
