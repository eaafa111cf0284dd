"""Files that are read and written: tables, stacks, other programs' files, the folder of the results."""

from __future__ import annotations

TEXTS = {
    "angles_lacking": (
        "there is a psi without rot and tilt: cryodrgn 4.3.1 and angdist 1.4 stop, and ASPIRE 0.14.3 finds no "
        "angles; tables written here have both as 0"
    ),
    "array_image_not_finite": "Image {item} of {path} (from 1) holds {what}: leave it out.",
    "array_pixel_size_unknown": (
        "No pixel size is given: 1 A is assumed, so no figure in angstrom is meant; give pixel_size."
    ),
    "array_shape": (
        "The images have the shape {shape}: give an array of N square images, (N, D, D), as numpy or torch have it."
    ),
    "array_type": "The images are of the type {kind}: give whole or floating-point grey values.",
    "array_without_classes": "{path} has no classes: give a table with a class number per particle, or no by_class.",
    "array_without_item": "{path} holds {count} particles, there is no item {item}",
    "boxes_mixed": "{path} holds images of {size} pixels and {other} of {other_size}; bring them to one box first",
    "cannot_be_read": "{path} cannot be read: {reason}",
    "cannot_be_unpacked": "{path} cannot be unpacked: {reason}",
    "cannot_be_written": "{path} cannot be written: {reason}",
    "class_blocks_empty": "{path} lists no images: the blocks of its classes are empty",
    "class_columns_left_out": "{path}: not all of its classes have the columns {columns}: they are left out.",
    "class_number_broken": "{path}: row {row} has the class {value:g}, which is no whole number.",
    "class_number_too_large": (
        "{path}: row {row} has the class {value}, too large to be told from its neighbours: number the classes from 1."
    ),
    "classes_missing": (
        "{path} gives no class for {count} of {total} particles (the first: row {row}): they are taken as class "
        "{taken}, and what they show need not be one view."
    ),
    "column_missing": "{path}: the table data_{name} has no column _{column}",
    "counted_from_0": "{what} (the table has an image 0, so it was read as counting from 0)",
    "counts_from_0": (
        "{path} counts its images from 0 (as the UDL program of 2023 does): it was read so; tables that are written "
        "count from 1, as all others do."
    ),
    "cs_cannot_mirror": (
        "cryoSPARC's 2D alignment cannot hold mirrored particles, so aligned.cs is not written: write the aligned "
        "stack too, or use aligned.xmd"
    ),
    "cs_compressed": (
        "{path} is of cryoSPARC's compressed form (CSDAT): save it as a numpy array with cryosparc-tools, "
        "Dataset.load('{file}').save('{plain}') after 'from cryosparc.dataset import Dataset', and give that file"
    ),
    "cs_field_odd": "{path}: a field is not as cryoSPARC writes it: {reason}",
    "cs_images_not_named": (
        "{path}: no file beside it names the images of {count} of its {total} particles (the first: row {row}, uid "
        "{uid}): give the passthrough file of all of them, or take these particles out"
    ),
    "cs_images_unreadable": "{path}: blob/path holds no texts or blob/idx no whole numbers, so it names no images",
    "cs_is_none": "{path} is no .cs file of cryoSPARC (a numpy array): {reason}",
    "cs_truncated": "{path} is truncated: its header promises {promised} particles, {there} are whole; copy it again",
    "cs_without_fields": "{path} is no .cs file of cryoSPARC: it holds no rows with named fields",
    "cs_without_images": (
        "{path} has no field {field}, so it names no images, and no passthrough file beside it has those of its "
        "particles; give the file that names them"
    ),
    "cs_without_rows": "{path} lists no images: it has no rows",
    "data_sign_negative": (
        "{path} gives {share} the data sign -1 (blob/sign): their grey values are inverted when they are read, as "
        "cryoSPARC does."
    ),
    "data_signs_mixed": (
        "{path} gives {share} the data sign -1 (blob/sign): their grey values are inverted when they are read, as "
        "cryoSPARC does. A STAR or XMD cannot say so: RELION and Xmipp would average images of both signs; "
        "{--write-stack} writes all with one."
    ),
    "defocus_lacking_in_rows": (
        "{path} gives no {lacking} for {count} of {total} particles (the first: item {item}, {name}): no CTF is "
        "taken into account for them; the others keep theirs."
    ),
    "defocus_out_of_range": (
        "{path}: row {row} has {value} (column _{label}), which no microscope has: give a value {span}."
    ),
    "defocus_without_microscope": (
        "{path} gives a defocus, but no {lacking}, so the CTF is not taken into account: give {options:options}."
    ),
    "defocus_without_value": (
        "{path} has a column for the defocus, but a value in no row: the CTF is not taken into account."
    ),
    "directed_left_out": (
        "The images that {path} names are rotated, so what has a direction in the unrotated ones is not true of them "
        "and is left out: {labels}."
    ),
    "disk_without_locks": (
        "{folder} is on a disk that knows no locks: two runs into it at one time would spoil each other's results, "
        "and nothing keeps them apart."
    ),
    "fields_from_elsewhere": "{path} does not have all of its particles' fields: {groups} come from {other}.",
    "fields_lacking": (
        "No file beside {path} has {fields} for {count} of {total} particles (the first: row {row}, uid {uid}): they "
        "go without, the others have theirs."
    ),
    "folder_cannot_be_made": "{path} cannot be made: {reason}",
    "folder_exists": "{path} exists already; give another folder, or {--overwrite} to replace its results",
    "folder_in_use": (
        "{folder} is being written to by another run ({holder}): wait until that has ended, or end it, and run this "
        "again"
    ),
    "folder_is_a_file": "{path} is a file; give the name of a folder for the results",
    "folder_not_writable": "{path} cannot be written to: {reason}",
    "folder_without_name": "the folder for the results has no name; give one",
    "header_pixel_sizes_mixed": "{path}: its stacks give different pixel sizes in their headers; align them one by one",
    "image_cannot_be_read": "{path}: item {item} cannot be read: {reason}",
    "image_file_elsewhere": (
        "{path} names {named}, which is not there: {taken} was taken, and is named in the tables that are written."
    ),
    "image_file_no_mrc": "{table}: row {row} names {file}, which is no MRC file; convert the stack to .mrcs",
    "image_file_not_found": (
        "{table}: row {row} names {file}, which is neither under the current folder nor under the table's folder or "
        "its parents; run from the project folder or give the stack itself"
    ),
    "image_name_odd": "{path}: row {row} names '{name}'; an image is FILE or NUMBER@FILE, numbers from 1",
    "image_not_finite": "{path} holds NaN or infinite values; give another image",
    "image_not_square": "{path} has {width} x {height} pixels; a square image is needed",
    "image_not_there": "{what}: give an image as FILE or N@FILE",
    "image_of_several": (
        "{path}: row {row} names {name} as one image, but it holds {count}: name each as NUMBER@FILE, or, if it is a "
        "volume or the tilts of one particle, {advice}"
    ),
    "image_of_stack": "{path} holds {count} images; say which one: N@{path}",
    "image_past_end": "{path}: row {row} names item {item} of {stack}, which has {count}",
    "image_sizes_mixed": "{path}: optics groups have different image sizes; align each group on its own",
    "image_table_empty": "{path} lists no images: its table data_{name} is empty",
    "image_value_not_finite": "{path}: item {item} holds {kind}; remove or mend this image",
    "image_without_number": (
        "{path}: row {row} names '{name}' without a number, in a table that counts from 0; write every image as "
        "NUMBER@FILE"
    ),
    "images_not_square": "{path} holds images of {width} x {height} pixels; square ones are needed",
    "input_among_results": (
        "{path} is read by this run and would be replaced by its results, which are written into {folder}: give "
        "another folder for them"
    ),
    "input_not_there": "{what}: give a .mrcs, .mrc, .star, .xmd or .cs file",
    "input_of_no_kind": "{path} is of no kind that can be read: give a .mrcs, .mrc, .star, .xmd or .cs file",
    "input_would_be_replaced": "{path} is one of the results that {--overwrite} would replace; give another folder",
    "label_twice": "{path}: the table data_{name} has the label _{label} twice; remove one",
    "label_unreadable": "{path}: a label of the table data_{name} cannot be read: {reason}",
    "label_without_value": "{path}: the label _{label} has no value",
    "labels_without_numbers": (
        "the labels have no numbers (#1, #2, ...) behind them: starparser 1.60 counts particles that are not there; "
        "tables written here have them"
    ),
    "line_before_data": "{path}: line {line} stands before any data_ line, so this is no STAR or XMD file",
    "line_not_understood": "{path}: line {line} is neither a label nor a row of a table",
    "map_axes": "{path} has its axes in another order than x, y, z: bring them into it with another program",
    "map_not_a_cube": "{path} has {columns} x {rows} x {count} voxels; a map must be a cube: pad or crop it",
    "map_not_there": "{path} is not there: give a map, an MRC file of a cube",
    "microscope_assumed": (
        "Not in the input, so assumed in the STAR that is written: {values}; give {options:options} if they are others."
    ),
    "microscope_lacking_in_rows": (
        "{path} gives no {lacking} for {count} of {total} particles (the first: item {item}, {name}): no CTF is "
        "taken into account for them; the others keep theirs. Give {options:options}."
    ),
    "microscope_of_options": "Taken from the options for the CTF, since the table does not say: {filled}.",
    "mrc_header_odd": "{stacks} has an MRC header without MAP word or machine stamp; it was read all the same.",
    "mrc_mode_unknown": "{path} has MRC mode {mode}, which cannot be read; convert it to mode 2 (32 bit)",
    "mrc_of_transforms": "{path} holds Fourier transforms (MRC mode {mode}), not images; give the images themselves",
    "mrc_of_volumes": "{path} is a stack of volumes (space group {space_group}), not of images",
    "mrc_too_short": "{path} is no MRC file: it is shorter than an MRC header",
    "mrc_without_size": "{path} is no MRC file, or an empty one: its header gives no sensible image size",
    "names_are_numbers": (
        "the names in column _{column} are numbers ({name}, for instance): starfile 0.5.13 makes {made} of it, "
        "unless it is told to parse the column as text"
    ),
    "names_made_absolute": (
        "{path} names its images relative to its own folder or one above it ({changed}), where they were found: the "
        "tables that are written name them by absolute path, so that they are found from everywhere."
    ),
    "no_class_numbers": (
        "{path} has no class number per particle (column _{label}): give the table of a 2D classification, or leave "
        "{--by-class} out."
    ),
    "no_image_readable": "{path}: none of its {count} images can be read; run from the project folder",
    "no_image_whole": "{path}: not one of its {count} images is whole; copy or make the file again",
    "no_room_to_unpack": (
        "{path} comes to {promised:.1f} GB unpacked, by its header, and the disk of {folder} has {free:.1f} GB: "
        "unpack it where there is room, or let TMPDIR name a folder there"
    ),
    "no_such_image": "{path} holds {count} images, there is no item {item}",
    "no_such_particle": "{path} lists {count} particles, there is no item {item}",
    "not_a_text_table": "{path} is not a text table: give a STAR or XMD file",
    "old_poses_left_out": "The poses that {path} came with are left out of the new tables: {columns}.",
    "optics_group_missing": "{path}: row {row} is of optics group {group}, which data_optics lacks",
    "optics_of_other_box": (
        "The optics table of {path} says {size:g} pixels, the images have {box}: check the pixel size."
    ),
    "other_ending": (
        "{path} names {named}, which is not there; {taken} is, and was taken{others}: RELION would not find it by "
        "the name in this table, but does by the tables that are written."
    ),
    "particles_disabled": "{count} particles of {path} are marked as disabled; they are treated as all others.",
    "phase_shift_lacking": (
        "there is a defocus and no rlnPhaseShift: cryodrgn 4.3.1 makes NaN of every CTF, without a word; tables "
        "written here have the column as 0"
    ),
    "picture_unreadable": "{path} cannot be read as a picture: {reason}",
    "pixel_size_contradicted": "Pixel size: {in_use} and is used; {other:g} A of {source} is not.",
    "pixel_size_is_1": (
        "The header of {path} gives 1 A per pixel, which programs also write when they do not know it; give "
        "{--pixel-size} if it is another."
    ),
    "pixel_size_lacking": (
        "{path} gives no pixel size for {count} of {total} particles (the first: row {row}): {size:g} A of the "
        "others is taken for them."
    ),
    "pixel_size_not_positive": "the pixel size must be a number of angstrom above 0, not {value:g}",
    "pixel_size_of_detector": (
        "{path} has a magnification and detector pixel for {size:g} A, and {pixel_size:g} A per pixel is in use: "
        "that is what the tables that are written say."
    ),
    "pixel_size_of_micrographs": (
        "{path} gives the pixel size of the micrographs alone (rlnMicrographPixelSize): {pixel_size:g} A is used, "
        "which is wrong if the particles were binned; then give {--pixel-size}."
    ),
    "pixel_size_rewritten": (
        "{path} has {before} in _{column}, and {pixel_size:g} A per pixel is in use: that is what the tables that "
        "are written say."
    ),
    "pixel_size_unknown": (
        "Neither {path} nor an image header gives the pixel size: 1 A is assumed, so no figure in angstrom is meant; "
        "give {--pixel-size}."
    ),
    "pixel_sizes_mixed": (
        "{path}: the particles have different pixel sizes ({low:g} and {high:g} A); align those of each pixel size "
        "(optics group) on their own"
    ),
    "poses_missing": (
        "{path} gives no pose for {count} of {total} particles (the first: row {row}): they are taken as they lie, "
        "with angle and shift 0."
    ),
    "relion_reads_otherwise": (
        "{path}{others}: the images are {kind}, which RELION 3.1 {happens}: convert them to 32-bit floats (mode 2) "
        "for it, or take the aligned.mrcs of align {--write-stack}."
    ),
    "result_changed": "{path} was changed since the run wrote it, or is damaged: {advice}.",
    "result_is_read": "{path} is read by this run and is not replaced: give another folder",
    "result_missing": "{path} {what}: {advice}.",
    "row_of_wrong_length": (
        "{path}: line {line} has {count} values for the {width} labels of data_{name}; a value with spaces must be "
        "in quotes"
    ),
    "same_image_twice": (
        "{path}: rows {first} and {second} name the same image {name}; results are joined by name, so keep one of them"
    ),
    "second_table_in_block": "{path}: line {line} begins a second table within data_{name}; split the file",
    "shifts_without_pixel_size": "{path} gives shifts in angstrom, but no pixel size: add one (rlnImagePixelSize)",
    "stack_ends_within": "{path} ends within item {item}; copy or make the file again",
    "stack_of_mirrored": "Some particles are mirrored: aligned.star names the aligned stack, with all poses 0.",
    "stack_packed": "{path} is packed: unpack it before other programs use the tables that name it.",
    "stack_truncated": (
        "{path} is truncated: its header promises {promised} images, {there} are whole; copy or make the file again"
    ),
    "stack_without_classes": (
        "{path} is a stack of images, which has no classes: give a table with a class number per particle "
        "(rlnClassNumber in STAR, ref in XMD), or leave {--by-class} out."
    ),
    "star_cannot_mirror": (
        "RELION's 2D alignment cannot hold mirrored particles, so aligned.star is not written: write the aligned "
        "stack too, or use aligned.xmd"
    ),
    "subtomogram_files": (
        "{path} is the list of files of a set of subtomograms (RELION's tomography), not of particles; {advice}"
    ),
    "subtomograms": (
        "{path} lists subtomograms ({kind}), not particle images, and they cannot be aligned in 2D; {advice}"
    ),
    "table_with_several_lists": "{path} lists images in {count} tables ({names}...); keep one of them",
    "table_without_images": "{path} lists no images: no table has a column _rlnImageName (STAR) or _image (XMD)",
    "text_not_writable": "{text!r} cannot be written as one value of a table: rename it without quotes or line breaks",
    "text_without_table": "{path} holds no table (no line begins with data_): give a STAR or XMD file",
    "tomogram_places": "{path} lists places in tomograms, which have no particle images yet; {advice}",
    "truth_without_directions": "{path} holds no viewing directions: simulate {--views} writes them",
    "truth_without_poses": "{path} holds no true poses: a table with _rlnImageName and _udlAngle is needed",
    "two_of_one_name": (
        "{path} names {taken}, and there are two of that name: the one under the current folder was taken, not {other}."
    ),
    "unsigned_values": (
        "{path}{others}: the images are {kind} in an MRC file of mode {mode} ({reason}), and are read so; RELION, "
        "Xmipp and mrcfile read them as signed numbers, which tears the image: convert them to 32-bit floats (mode "
        "2) for these, or take the aligned.mrcs of align {--write-stack}."
    ),
    "value_not_a_number": "{path}: row {row} has '{value}' in column _{label}, not a number",
    "volume_not_a_stack": "{path} is a volume of {count} cubed pixels, not a stack; name it .mrcs if it is one",
}
