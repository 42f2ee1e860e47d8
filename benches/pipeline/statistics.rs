//! Medians and percentiles of small samples.

/// The value below which `part` of the sample lies (nearest rank); 0 for an empty sample.
pub fn percentile(sample: &[f64], part: f64) -> f64 {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// The middle one.
pub fn median(sample: &[f64]) -> f64 {
    percentile(sample, 0.5)
}

/// The least and the greatest.
pub fn spread(sample: &[f64]) -> (f64, f64) {
    (percentile(sample, 0.0), percentile(sample, 1.0))
}
