//! Colours and marks. The colours are those of Okabe and Ito, which people tell apart who do not
//! see all colours; lines differ in their marks too.

use plotters::element::{Circle, Polygon};
use plotters::style::{Color, RGBColor};

use super::page::{Pixels, Point};

pub(super) const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
pub(super) const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);
const BLACK: RGBColor = RGBColor(0x00, 0x00, 0x00);
const BLUE: RGBColor = RGBColor(0x00, 0x72, 0xb2);
const GREEN: RGBColor = RGBColor(0x00, 0x9e, 0x73);
const GREY: RGBColor = RGBColor(0xa8, 0xa8, 0xa8);
const ORANGE: RGBColor = RGBColor(0xe6, 0x9f, 0x00);
const PURPLE: RGBColor = RGBColor(0xcc, 0x79, 0xa7);
const SKY: RGBColor = RGBColor(0x56, 0xb4, 0xe9);
const VERMILLION: RGBColor = RGBColor(0xd5, 0x5e, 0x00);

/// Whose values they are; says the colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The gateway's: blue.
    Gateway,
    /// Those of the program that does the least that can be done: orange.
    Floor,
    /// Those of another product: grey bars, lines of other colours.
    Peer,
}

impl Side {
    /// Of all bars of this side.
    pub(super) fn colour(self) -> RGBColor {
        match self {
            Self::Gateway => BLUE,
            Self::Floor => ORANGE,
            Self::Peer => GREY,
        }
    }

    /// Of lines of this side, one after the other.
    fn palette(self) -> &'static [RGBColor] {
        match self {
            Self::Gateway => &[BLUE, SKY, BLACK],
            Self::Floor => &[ORANGE],
            Self::Peer => &[GREEN, PURPLE, VERMILLION, GREY],
        }
    }
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Look {
    pub(super) colour: RGBColor,
    /// None where points are too close for it.
    mark: Option<Mark>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mark {
    Circle,
    Square,
    Triangle,
    Diamond,
}

impl Look {
    /// Of each of these lines.
    pub(super) fn of(sides: &[Side]) -> Vec<Self> {
        let marks = [Mark::Circle, Mark::Square, Mark::Triangle, Mark::Diamond];
        let look = |(nth, side): (usize, &Side)| {
            let before = sides[..nth].iter().filter(|other| *other == side).count();
            let palette = side.palette();
            Self { colour: palette[before % palette.len()], mark: Some(marks[nth % marks.len()]) }
        };
        sides.iter().enumerate().map(look).collect()
    }

    /// The same without marks.
    pub(super) fn plain(self) -> Self {
        Self { mark: None, ..self }
    }

    /// Draws the mark of one point.
    pub(super) fn mark(self, area: &Pixels<'_>, (x, y): Point) -> anyhow::Result<()> {
        let corners: &[Point] = match self.mark {
            None => return Ok(()),
            Some(Mark::Circle) => return Ok(area.draw(&Circle::new((x, y), 4, self.colour.filled()))?),
            Some(Mark::Square) => &[(-4, -4), (4, -4), (4, 4), (-4, 4)],
            Some(Mark::Triangle) => &[(0, -5), (5, 4), (-5, 4)],
            Some(Mark::Diamond) => &[(0, -6), (6, 0), (0, 6), (-6, 0)],
        };
        let corners: Vec<_> = corners.iter().map(|(right, down)| (x + right, y + down)).collect();
        Ok(area.draw(&Polygon::new(corners, self.colour.filled()))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_chart_differ_and_the_gateway_is_blue_in_each() {
        let looks = Look::of(&[Side::Peer, Side::Gateway, Side::Gateway, Side::Floor, Side::Peer]);
        assert_eq!(looks[1].colour, BLUE);
        assert_eq!(looks[3].colour, ORANGE);
        for (nth, look) in looks.iter().enumerate() {
            assert!(looks[..nth].iter().all(|other| other.colour != look.colour), "{looks:?}");
        }
    }
}
