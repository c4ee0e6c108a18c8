// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IERC20} from "../IERC20.sol";

/// @title What the library of this name does, in plain Solidity, for slither's eyes only.
/// @dev The library calls the token from assembly, where slither sees no call: with it, the escrow would seem never to
/// call anybody, and no order of its effects could be wrong.
library SafeERC20 {
    error SafeERC20FailedOperation(address token);

    function safeTransfer(IERC20 token, address to, uint256 value) internal {
        if (!token.transfer(to, value)) revert SafeERC20FailedOperation(address(token));
    }

    function safeTransferFrom(IERC20 token, address from, address to, uint256 value) internal {
        if (!token.transferFrom(from, to, value)) revert SafeERC20FailedOperation(address(token));
    }
}
