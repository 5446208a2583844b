"""Parses multipart/form-data as it comes: its file is never whole in memory, nor on a disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from email.message import Message
from http import HTTPStatus

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from aily.problems import UnsupportedMediaType
from chat.models.files import PIECE_BYTES
from chat.openai.errors import OpenAIError

#: Fields beside the file, and bytes of all of them together.
MAX_FIELDS = 16
MAX_FIELD_BYTES = 65_536
FILE_FIELD = "file"


class FormParser:
    """The fields of a form, and its one file in pieces of PIECE_BYTES.

    Errors are OpenAIError.
    """

    def __init__(self, boundary: bytes) -> None:
        self.fields: dict[str, str] = {}
        #: None until its part has begun.
        self.file_name: str | None = None
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._add_header_name,
                "on_header_value": self._add_header_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._begin_data,
                "on_part_data": self._add_data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._disposition = b""
        #: The field that is being read; None: the file.
        self._field: str | None = None
        self._value = bytearray()
        self._fields_bytes = 0
        self._content = bytearray()
        self._has_ended = False

    @classmethod
    def of(cls, request: Request) -> FormParser:
        """Raises UnsupportedMediaType for a body that is no form."""
        media_type, options = parse_options_header(request.headers.get("content-type", ""))
        boundary = options.get(b"boundary")
        if media_type != b"multipart/form-data" or not boundary:
            message = "Send the file as multipart/form-data."
            raise UnsupportedMediaType(message, field="Content-Type")
        try:
            return cls(boundary)
        except FormParserError as error:
            raise _broken(str(error)) from None

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Parse the next bytes. Gives the pieces of the file that are whole."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _broken(str(error)) from None
        while len(self._content) >= PIECE_BYTES:
            yield bytes(self._content[:PIECE_BYTES])
            del self._content[:PIECE_BYTES]

    def finish(self) -> Iterator[bytes]:
        """The end of the body. Gives what is left of the file."""
        if not self._has_ended:
            raise _broken("it ends in the middle")
        if self.file_name is None:
            message = "Missing required parameter: file."
            code = "missing_required_parameter"
            raise OpenAIError(HTTPStatus.BAD_REQUEST, message, param=FILE_FIELD, code=code)
        if self._content:
            yield bytes(self._content)

    # --- Called by the parser -------------------------------------------------------------------
    def _begin_part(self) -> None:
        self._disposition = b""
        self._field = None
        self._value.clear()

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def _end_header(self) -> None:
        if self._header[0].lower() == b"content-disposition":
            self._disposition = bytes(self._header[1])
        self._header = (bytearray(), bytearray())

    def _begin_data(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode(errors="replace")
        file_name = _file_name(self._disposition, options)
        if file_name is None:
            self._begin_field(name)
            return
        if name != FILE_FIELD or self.file_name is not None:
            raise _invalid("Send one file, as `file`.", name or FILE_FIELD)
        self.file_name = file_name

    def _begin_field(self, name: str) -> None:
        if not name or name in self.fields:
            raise _invalid("Each field has a name, and is given once.", name or None)
        if len(self.fields) >= MAX_FIELDS:
            raise _invalid(f"A form has at most {MAX_FIELDS} fields.", name)
        self._field = name

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self._content += memoryview(data)[start:end]
            return
        self._fields_bytes += end - start
        if self._fields_bytes > MAX_FIELD_BYTES:
            raise _invalid(f"Fields have at most {MAX_FIELD_BYTES} bytes.", self._field)
        self._value += memoryview(data)[start:end]

    def _end_part(self) -> None:
        if self._field is not None:
            self.fields[self._field] = self._value.decode(errors="replace")

    def _end(self) -> None:
        self._has_ended = True


def _file_name(disposition: bytes, options: Mapping[bytes, bytes]) -> str | None:
    """The file's name, in either of its forms; None: the part is a field."""
    if (name := options.get(b"filename")) is not None:
        return name.decode(errors="replace")
    if b"filename*" not in disposition.lower():
        return None
    # The older form (RFC 5987), which the parser of options leaves out.
    header = Message()
    header["Content-Disposition"] = disposition.decode("latin1")
    return header.get_filename()


def _invalid(message: str, param: str | None) -> OpenAIError:
    return OpenAIError(HTTPStatus.BAD_REQUEST, message, param=param, code="invalid_value")


def _broken(reason: str) -> OpenAIError:
    return OpenAIError(HTTPStatus.BAD_REQUEST, f"This form cannot be read: {reason}."[:500])
