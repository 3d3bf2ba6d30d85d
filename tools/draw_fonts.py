"""Draw the digits of `digits='fonts'`: `python tools/draw_fonts.py [FILE]`, by default torch_moving_mnist/fonts.png

The sheet has 70 images of 28×28 in a row. Each block of 210 images has each digit in each typeface once. Other versions of matplotlib ship
other files (the typeface cmti10 needs 3.11), and other outlines of some digits: so the sheet is part of the package.
"""
import sys
from pathlib import Path

import numpy as np
import PIL.Image
from matplotlib import get_data_path
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path as Outline
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from torch_moving_mnist.digits import _PLASTIC as PLASTIC

FACES = [f'DejaVu{f}' for f in ('Sans','Sans-Bold','Sans-Oblique','Sans-BoldOblique',
                                'SansMono','SansMono-Bold','SansMono-Oblique','SansMono-BoldOblique',
                                'Serif','Serif-Bold','Serif-Italic','Serif-BoldItalic')]
FACES += ['STIXGeneral','STIXGeneralBol','STIXGeneralItalic','STIXGeneralBolIta','cmr10','cmb10','cmss10','cmti10','cmtt10']
VARIANTS = 14
COLUMNS = 70


def centre_of_mass(polygons):
    "Centre of mass of the area inside closed polygons; holes have the opposite orientation and count as negative"
    (x,y),(u,v) = (np.concatenate([p[s] for p in polygons]).T for s in (slice(None,-1), slice(1,None)))
    cross = x*v - u*y
    return np.array([((x+u)*cross).sum(), ((y+v)*cross).sum()])/(3*cross.sum())


def outline(face, digit):
    "Outline of a digit with longer side 1 and centre of mass at the origin; smaller if it extends far from the centre, as a 7 does"
    font = FontProperties(fname=str(Path(get_data_path())/'fonts'/'ttf'/f'{face}.ttf'))
    path = TextPath((0,0), str(digit), size=100, prop=font)
    centre = centre_of_mass(path.to_polygons())
    box = path.get_extents()
    return Outline((path.vertices - centre)/max(*box.size, 1.65*np.abs(box.get_points() - centre).max()), path.codes)


def draw_sheet():
    "All font digits on one sheet, `(rows·28, 70·28)` uint8"
    outlines = {(face,digit): outline(face, digit) for face in FACES for digit in range(10)}
    glyphs = list(outlines.values())*VARIANTS
    rows = -(-len(glyphs)//COLUMNS)
    sheet = RendererAgg(28*COLUMNS, 28*rows, 72)
    gc = sheet.new_gc() # Graphics context
    gc.set_foreground('black')
    for i,glyph in enumerate(glyphs):
        spread = (i+1)*PLASTIC**-np.arange(1,4.) % 1
        size,slant,weight = np.array([17,-.12,0]) + spread*[3,.24,.6]
        gc.set_linewidth(weight)
        row,col = divmod(i, COLUMNS)
        transform = Affine2D().scale(size).skew(slant, 0).translate(28*col + 14.5, 28*(rows - row) - 14.5)
        sheet.draw_path(gc, glyph, transform, (0,0,0))
    return np.array(sheet.buffer_rgba())[...,3]


if __name__ == '__main__':
    file = sys.argv[1] if len(sys.argv)>1 else Path(__file__).parent.parent/'torch_moving_mnist'/'fonts.png'
    PIL.Image.fromarray(draw_sheet()).save(file, optimize=True)
